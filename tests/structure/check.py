#!/usr/bin/env python3
"""Checks of the tree's structure: arrows, files, silence, pages.   tests/structure/check.py CHECK [ROOT]

  arrows   an include points only where ARCHITECTURE's table (ROOMS below) lets it; core rooms never include LibTorch
  files    nothing but io/file opens a file for writing
  silence  library rooms never print, exit or abort
  headers  each header stands in its room's list, so that it is installed and compiled alone
  stems    each source and test stands in its room's list
"""
import pathlib
import re
import sys

CORE = {
    "base": [],
    "io": ["base"],
    "image": ["base", "io"],
    "augment": ["base", "image"],
    "data": ["base", "io", "image", "augment"],
    "control": ["base"],
    "ensemble": ["base"],
    "report": ["base", "io"],
}
ALL = None  # every room named before it
TORCH = {
    "ops": ["base"],
    "probe": ["base", "ops"],
    "init": ["base", "ops", "probe"],
    "norm": ["base", "ops", "probe"],
    "drop": ["base", "ops"],
    "loss": ["base", "ops"],
    # docs/decisions: the layer table watches a forward pass, so models may also include probe.
    "models": ["base", "ops", "probe", "init", "norm", "drop"],
    "weights": ["base", "io", "init", "norm", "drop", "models"],
    "train": ALL,
    "lab": ALL,
}
ROOMS = {**CORE, **TORCH, "cli": ALL}
LIBTORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
STRING = re.compile(r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"', re.S)


def allowed(room):
    if ROOMS[room] is not ALL:
        return set(ROOMS[room]) | {room}
    names = list(ROOMS)
    return set(names[: names.index(room) + 1])


def is_test(path):
    return path.stem.endswith(("_test", "_bench")) or path.name.startswith("test_")


def sources(root):
    for path in sorted((root / "ballast").rglob("*")):
        if path.suffix in (".h", ".cpp") and path.is_file():
            yield path


def includes(path):
    text = COMMENT.sub(lambda m: "\n" * m.group().count("\n"), path.read_text())
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1)


def room_of(root, path):
    return path.relative_to(root / "ballast").parts[0]


def needs_torch(root, header, seen):
    """Whether a header of ours includes LibTorch, itself or through others."""
    if header in seen or not (root / header).exists():
        return False
    seen.add(header)
    return any(LIBTORCH.match(name) or (name.startswith("ballast/") and needs_torch(root, name, seen))
               for _, name in includes(root / header))


def lists_of(root, room):
    """Words of a room's CMakeLists.txt."""
    return set(re.sub(r"#[^\n]*", "", (root / "ballast" / room / "CMakeLists.txt").read_text()).replace("(", " ")
               .replace(")", " ").split())


def torch_free_cli(root):
    """Sources of the program, which loads LibTorch only by dlopen."""
    match = re.search(r"^set\(BALLAST_PROGRAM_SOURCES\s+([^)]*)\)", (root / "ballast/cli/CMakeLists.txt").read_text(), re.M)
    return {"main.cpp"} | set(match.group(1).split() if match else [])


def check_arrows(root):
    for path in sources(root):
        room = room_of(root, path)
        where = path.relative_to(root)
        if room not in ROOMS:
            yield f"{where}: ballast/{room} is no room of the table"
            continue
        torch_free = room in CORE or (room == "cli" and path.name in torch_free_cli(root))
        for line, name in includes(path):
            place = f"{where}:{line}"
            if name.startswith("ballast/"):
                target = name.split("/")[1]
                if not (root / name).exists():
                    yield f"{place}: {name} does not exist"
                # A test may use the helpers of room io's tests.
                elif target not in allowed(room) and not (is_test(path) and name == "ballast/io/test_folder.h"):
                    yield f"{place}: {room} may not include {target} ({name})"
                elif torch_free and target in TORCH and needs_torch(root, name, set()):
                    yield f"{place}: {name} needs LibTorch, which must not be included here"
            elif torch_free and LIBTORCH.match(name):
                yield f"{place}: {name}: LibTorch must not be included here"
            elif name == "torch/torch.h" and path.suffix == ".h":
                yield f"{place}: a header never includes torch/torch.h"


def code_of(path):
    """The text without comments and strings, line for line."""
    blank = lambda m: "\n" * m.group().count("\n")
    text = path.read_text()
    # Strings first hide the // in them; comments first would take a quote in a comment for a string.
    both = re.compile(f"{COMMENT.pattern}|{STRING.pattern}|'(?:\\\\.|[^'\\\\\\n])'", re.S)
    return both.sub(blank, text)


def search(root, pattern, skip):
    for path in sources(root):
        if skip(path):
            continue
        for number, line in enumerate(code_of(path).split("\n"), 1):
            match = pattern.search(line)
            if match and not line.lstrip().startswith("#"):
                yield f"{path.relative_to(root)}:{number}", match.group().strip()


WRITES = re.compile(
    r"\b(?:std::)?(?:ofstream|fopen|freopen|fdopen|fstream|basic_ofstream|basic_fstream|mkstemp|creat)\b"
    r"|(?<![\w:.>])(?:::)?open\s*\([^)]*O_(?:WRONLY|RDWR|CREAT|APPEND|TRUNC)"
    r"|\bO_(?:WRONLY|RDWR|CREAT|TRUNC)\b|\btorch::save\b|\bsave_to\s*\(|\bcopy_file\b|\bstd::filesystem::rename\b")


def check_files(root):
    skip = lambda p: is_test(p) or p == root / "ballast" / "io" / "file.cpp"
    for place, what in search(root, WRITES, skip):
        yield f"{place}: only ballast/io/file.cpp opens, renames or copies files for writing, got {what}"


PRINTS = re.compile(
    r"\bstd::(?:cout|cerr|clog|exit|abort|quick_exit|_Exit|terminate|print(?:ln)?|puts|printf|fprintf)\b"
    r"|(?<![\w:.>])(?:::)?(?:printf|fprintf|vprintf|puts|putchar|fputs|perror|exit|_exit|abort)\s*\("
    r"|\bspdlog\b|\bTORCH_WARN\w*\b")


def check_silence(root):
    skip = lambda p: is_test(p) or room_of(root, p) == "cli"
    for place, what in search(root, PRINTS, skip):
        yield f"{place}: a library never prints, exits or aborts, got {what}"


def check_listed(root, suffix):
    for path in sources(root):
        if path.suffix != suffix or path.name.startswith(("made_up_", "test_")):  # helpers of tests
            continue
        room = room_of(root, path)
        if str(path.relative_to(root / "ballast" / room)) not in lists_of(root, room):
            yield f"{path.relative_to(root)}: not in ballast/{room}/CMakeLists.txt"


CHECKS = {
    "arrows": check_arrows,
    "files": check_files,
    "silence": check_silence,
    "headers": lambda root: check_listed(root, ".h"),
    "stems": lambda root: check_listed(root, ".cpp"),
}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).parents[2]).resolve()
    faults = list(CHECKS[sys.argv[1]](root))
    print("\n".join(faults))
    print(f"{sys.argv[1]}: {len(faults)} faults in {sum(1 for _ in sources(root))} files")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
