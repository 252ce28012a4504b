// Trains on a folder of pictures: batch norm, dropout, augmentation, early stopping. Stopped or killed, it goes on when it is
// started again, and ends with the same bits.
#include <cstdio>

#include <ballast/train/run.h>
#include <ballast/train/run_options.h>

int main(int argc, char** argv) {
  ballast::RunOptions options;
  options.data.source = argc > 1 ? argv[1] : "fashion-mnist";
  options.run.out = argc > 2 ? argv[2] : "runs/example";
  options.model.name = ballast::Auto<std::string>("resnet8");
  options.model.norm = "batch";
  options.model.drop = "0.2";
  options.augment.train = ballast::Auto<std::string>("resize(32) | random_crop(32, padding=4) | horizontal_flip");
  options.augment.eval = ballast::Auto<std::string>("resize(32)");
  options.train.epochs = ballast::Auto<int64_t>(30);
  options.stop.patience = 5;

  ballast::RunEvents events;  // override its functions to watch
  const ballast::RunResult result = ballast::run_training(options, events);
  for (const auto& [name, value] : result.test) std::printf("%-14s %.4f\n", name.c_str(), value);
}
