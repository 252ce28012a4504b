// made_up_pages DIR: writes made-up run folders and their pages into DIR, for the test in the browser.

#include <filesystem>
#include <iostream>

#include <ballast/report/made_up_run.h>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: made_up_pages DIR\n";
    return 2;
  }
  namespace fs = std::filesystem;
  using namespace ballast;
  fs::path dir = argv[1];
  MadeUpRun good;
  MadeUpRun bad{
      .epochs = 12, .lr = 0.05, .skill = 0.8, .overfits = true, .never_says_last_class = true};
  bad.last_class =
      "<script>alert('x')</script> \"quoted\" & a name that is much longer than any column has "
      "room for";
  write_made_up_run(dir / "good-run", good);
  write_made_up_run(dir / "overfitted-run", bad);
  fs::create_directories(dir / "empty-run");
  write_file_atomic(dir / "empty-run" / "metrics.jsonl",
                    "{\"kind\":\"train\",\"step\":1,\"loss\":\"nan\"}\nnot json\n");
  RunPage one = made_up_page(dir / "good-run");
  RunPage two = made_up_page(dir / "overfitted-run", 96);
  RunPage three = made_up_page(dir / "empty-run");
  three.wrongest.clear();
  three.uncertain.clear();
  three.first_batch.clear();
  three.pictures_note = "The data is gone, so there are no pictures.";
  write_file_atomic(dir / "good.html", report_page({one}, {}));
  write_file_atomic(dir / "overfitted.html", report_page({two}, {}));
  write_file_atomic(dir / "empty.html", report_page({three}, {}));
  write_file_atomic(dir / "several.html", report_page({one, two, three}, {}));
}
