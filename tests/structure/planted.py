#!/usr/bin/env python3
"""Plants one fault after the other in a small tree and expects check.py to find each, and nothing in the tree without one."""
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
from check import CHECKS

CLEAN = {
    "ballast/base/CMakeLists.txt": "ballast_room(base HEADERS key.h SOURCES key.cpp)\n",
    "ballast/base/key.h": "#pragma once\n// std::cout is not used; nor exit(1)\n",
    "ballast/base/key.cpp": '#include <ballast/base/key.h>\nconst char* text = "std::cout << exit(1), O_WRONLY";\n',
    "ballast/io/CMakeLists.txt": "ballast_room(io HEADERS file.h SOURCES file.cpp)\n",
    "ballast/io/file.h": "#include <ballast/base/key.h>\n",
    "ballast/io/file.cpp": "int f = ::open(path, O_WRONLY | O_CREAT);\n",
    "ballast/train/CMakeLists.txt": "ballast_room(train HEADERS options.h trainer.h)\n",
    "ballast/train/options.h": "#include <ballast/base/key.h>\n",
    "ballast/train/trainer.h": "#include <torch/types.h>\n#include <ballast/train/options.h>\n",
    "ballast/cli/CMakeLists.txt": "set(BALLAST_PROGRAM_SOURCES main.cpp list.cpp)\nset(X train.cpp)\n",
    "ballast/cli/main.cpp": "#include <ballast/train/options.h>\n#include <iostream>\nint main() { std::cout << 1; }\n",
    "ballast/cli/list.cpp": "// #include <torch/torch.h>\n",
    "ballast/cli/train.cpp": "#include <ballast/train/trainer.h>\n",
}
FAULTS = [
    ("arrows", "ballast/base/key.cpp", "#include <ballast/io/file.h>\n", "base may not include io"),
    ("arrows", "ballast/base/key.cpp", '#include "ballast/io/file.h"\n', "base may not include io"),
    ("arrows", "ballast/io/file.cpp", "#include <ballast/train/options.h>\n", "io may not include train"),
    ("arrows", "ballast/io/file.cpp", "# include <ATen/ATen.h>\n", "LibTorch must not be included here"),
    ("arrows", "ballast/io/file.h", "#include <c10/util/Optional.h>\n", "LibTorch must not be included here"),
    ("arrows", "ballast/io/file_test.cpp", "#include <torch/torch.h>\n", "LibTorch must not be included here"),
    ("arrows", "ballast/train/options.h", "#include <ballast/cli/x.h>\n", "does not exist"),
    ("arrows", "ballast/train/trainer.h", "#include <torch/torch.h>\n", "never includes torch/torch.h"),
    ("arrows", "ballast/cli/main.cpp", "#include <ballast/train/trainer.h>\n", "needs LibTorch"),
    ("arrows", "ballast/cli/list.cpp", "#include <torch/types.h>\n", "LibTorch must not be included here"),
    ("arrows", "ballast/attic/x.h", "", "no room of the table"),
    ("files", "ballast/base/key.cpp", "std::ofstream out(path);\n", "got std::ofstream"),
    ("files", "ballast/train/trainer.h", "FILE* f = fopen(p, m);\n", "got fopen"),
    ("files", "ballast/cli/list.cpp", "int f = open(p, O_RDWR);\n", "O_RDWR"),
    ("files", "ballast/train/trainer.h", "torch::save(model, path);\n", "torch::save"),
    ("files", "ballast/cli/list.cpp", "std::filesystem::copy_file(a, b);\n", "copy_file"),
    ("silence", "ballast/base/key.cpp", "void f() { std::cout << 1; }\n", "got std::cout"),
    ("silence", "ballast/base/key.cpp", "void f() { printf(text); }\n", "got printf"),
    ("silence", "ballast/io/file.cpp", "void f() { exit(1); }\n", "got exit("),
    ("silence", "ballast/io/file.cpp", "void f() { ::abort(); }\n", "abort"),
    ("headers", "ballast/base/new.h", "", "not in ballast/base/CMakeLists.txt"),
    ("stems", "ballast/base/new_test.cpp", "", "not in ballast/base/CMakeLists.txt"),
]


def run(root, check):
    faults = list(CHECKS[check](root.resolve()))
    return int(bool(faults)), "\n".join(faults)


def plant(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for check, name, text, expected in FAULTS:
            plant(root, CLEAN)
            code, out = run(root, check)
            if code != 0:
                bad += 1
                print(f"{check}: found a fault where none is:\n{out}")
            plant(root, {name: CLEAN.get(name, "") + text})
            code, out = run(root, check)
            if code != 1 or expected not in out:
                bad += 1
                print(f"{check}: did not say {expected!r} of {text!r} in {name}, but:\n{out}")
            if name in CLEAN:
                plant(root, {name: CLEAN[name]})
            else:
                (root / name).unlink()
                if not any((root / name).parent.iterdir()):
                    (root / name).parent.rmdir()
    print(f"{len(FAULTS)} planted faults, {bad} not found")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
