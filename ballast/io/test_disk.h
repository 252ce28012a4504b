#pragma once

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/io/file.h>

namespace ballast {

/// For tests: a disk in memory that can lose power. It remembers what was made durable, and gives the states that a real
/// disk may show after a crash:
///
///   file     its content at the last fsync, and of each 512-byte sector written since: the old, the new, or zeros; its
///            size anything between
///   folder   its names at the last fsync_dir, and any subset of what was made, renamed or removed since, in any order
class TestDisk final : public FileSystem {
 public:
  TestDisk() : nodes_(1) { nodes_[0].folder = true; }

  /// Called after each call that changes something.
  std::function<void()> on_change;

  /// A state after a crash now. 0: nothing that is not durable; 1: everything; 2: all content, no names; 3: all names, no
  /// content; from 4: drawn by the key.
  TestDisk crash(int kind, Key key) const {
    TestDisk out;
    out.nodes_ = nodes_;
    for (size_t i = 0; i < out.nodes_.size(); ++i) {
      Node& n = out.nodes_[i];
      const Key own = key.fold_in(i);
      n.folder ? crash_folder(n, kind, own) : crash_file(n, kind, own);
      n.settle();
    }
    return out;
  }

  int open(const std::filesystem::path& path, OpenMode mode) override {
    std::optional<size_t> found = find(path);
    if (found && mode == OpenMode::create_new) return -EEXIST;
    if (found && nodes_[*found].folder) return -EISDIR;
    if (!found) {
      if (mode == OpenMode::read) return -ENOENT;
      const int made = add(path, false);
      if (made < 0) return made;
      found = find(path);
      changed();
    }
    open_[next_] = {*found, 0};
    return next_++;
  }
  int64_t read(int file, std::span<std::byte> into) override {
    Open& o = open_.at(file);
    const std::string& data = nodes_[o.node].data;
    const size_t n = std::min(into.size(), data.size() - std::min(data.size(), o.at));
    std::copy_n(reinterpret_cast<const std::byte*>(data.data()) + o.at, n, into.data());
    o.at += n;
    return static_cast<int64_t>(n);
  }
  int64_t pwrite(int file, std::span<const std::byte> bytes, uint64_t offset) override {
    Node& n = nodes_[open_.at(file).node];
    if (n.data.size() < offset + bytes.size()) n.data.resize(offset + bytes.size());
    std::copy_n(reinterpret_cast<const char*>(bytes.data()), bytes.size(), n.data.data() + offset);
    for (uint64_t s = offset / kSector; s * kSector < offset + bytes.size(); ++s) n.dirty.insert(s);
    changed();
    return static_cast<int64_t>(bytes.size());
  }
  int fallocate(int file, uint64_t size) override {
    Node& n = nodes_[open_.at(file).node];
    if (n.data.size() < size) n.data.resize(size);
    changed();
    return 0;
  }
  int truncate(int file, uint64_t size) override {
    nodes_[open_.at(file).node].data.resize(size);
    changed();
    return 0;
  }
  int64_t size(int file) override { return static_cast<int64_t>(nodes_[open_.at(file).node].data.size()); }
  int fsync(int file) override {
    if (!lose_fsync) {
      Node& n = nodes_[open_.at(file).node];
      n.synced = n.data;
      n.dirty.clear();
    }
    changed();
    return 0;
  }
  int close(int file) override { return open_.erase(file) == 1 ? 0 : -EBADF; }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    const std::optional<size_t> node = find(from);
    const std::optional<size_t> target = find(to);
    const std::optional<size_t> a = find(from.parent_path()), b = find(to.parent_path());
    if (!node || !b) return -ENOENT;
    if (target && nodes_[*target].folder && !nodes_[*target].names.empty()) return -ENOTEMPTY;
    Node& source = nodes_[*a];
    source.names.erase(from.filename().string());
    nodes_[*b].names[to.filename().string()] = *node;
    if (*a == *b) {
      source.pending.push_back({from.filename().string(), to.filename().string(), *node});
    } else {
      source.pending.push_back({from.filename().string(), "", 0});
      nodes_[*b].pending.push_back({"", to.filename().string(), *node});
    }
    changed();
    return 0;
  }
  int mkdir(const std::filesystem::path& path) override {
    if (find(path)) return -EEXIST;
    const int made = add(path, true);
    if (made == 0) changed();
    return made;
  }
  int unlink(const std::filesystem::path& path) override {
    const std::optional<size_t> node = find(path);
    if (!node) return -ENOENT;
    if (nodes_[*node].folder && !nodes_[*node].names.empty()) return -ENOTEMPTY;
    Node& folder = nodes_[*find(path.parent_path())];
    folder.names.erase(path.filename().string());
    folder.pending.push_back({path.filename().string(), "", 0});
    changed();
    return 0;
  }
  int readdir(const std::filesystem::path& path, std::vector<FolderEntry>& entries) override {
    entries.clear();
    const std::optional<size_t> node = find(path);
    if (!node) return -ENOENT;
    if (!nodes_[*node].folder) return -ENOTDIR;
    for (const auto& [name, child] : nodes_[*node].names) entries.push_back({name, nodes_[child].folder});
    return 0;
  }
  int fsync_dir(const std::filesystem::path& path) override {
    const std::optional<size_t> node = find(path);
    if (!node) return -ENOENT;
    if (!lose_fsync_dir) {
      nodes_[*node].synced_names = nodes_[*node].names;
      nodes_[*node].pending.clear();
    }
    changed();
    return 0;
  }
  int statvfs(const std::filesystem::path&, DiskSpace& space) override {
    space = {.free_bytes = uint64_t{1} << 40, .total_bytes = uint64_t{1} << 40, .free_inodes = 1 << 20};
    return 0;
  }
  int lock(int) override { return 0; }

  /// Planted faults: a disk, or a program, that leaves out the one or the other.
  bool lose_fsync = false, lose_fsync_dir = false;

 private:
  static constexpr uint64_t kSector = 512;
  struct Change {
    std::string removed, added;  // either may be empty
    size_t node = 0;
  };
  struct Node {
    bool folder = false;
    std::string data, synced;
    std::set<uint64_t> dirty;
    std::map<std::string, size_t> names, synced_names;
    std::vector<Change> pending;
    void settle() {
      synced = data;
      synced_names = names;
      dirty.clear();
      pending.clear();
    }
  };
  struct Open {
    size_t node = 0, at = 0;
  };

  static void crash_file(Node& n, int kind, Key key) {
    const bool all = kind == 1 || kind == 2, none = kind == 0 || kind == 3;
    if (all) return;
    if (none) {
      n.data = n.synced;
      return;
    }
    const std::string written = n.data;
    const uint64_t low = std::min(n.synced.size(), written.size()), high = std::max(n.synced.size(), written.size());
    const uint64_t size = low + (high > low ? key.fold_in("size").bits() % (high - low + 1) : 0);
    n.data = written;
    n.data.resize(size);
    for (const uint64_t s : n.dirty) {
      const uint64_t what = key.fold_in(s).bits() % 3;
      for (uint64_t i = s * kSector; i < std::min(size, (s + 1) * kSector) && what != 0; ++i) {
        n.data[i] = what == 1 && i < n.synced.size() ? n.synced[i] : '\0';
      }
    }
  }
  static void crash_folder(Node& n, int kind, Key key) {
    if (kind == 1 || kind == 3) return;
    n.names = n.synced_names;
    if (kind == 0 || kind == 2) return;
    struct Drawn {
      uint64_t draw = 0;
      size_t order = 0;
      Change change;
    };
    std::vector<Drawn> some;
    for (size_t i = 0; i < n.pending.size(); ++i) {
      const uint64_t draw = key.fold_in(i).bits();
      if (draw % 2 == 0) some.push_back({draw, i, n.pending[i]});
    }
    // Half of the states keep the order in which things were done.
    if (key.fold_in("order").bits() % 2 == 0) std::ranges::sort(some, {}, &Drawn::draw);
    std::map<size_t, size_t> newest;  // of each node, the latest change that names it
    for (const Drawn& d : some) {
      if (!d.change.removed.empty()) n.names.erase(d.change.removed);
      if (d.change.added.empty()) continue;
      // A folder stands under one name: the one that it was given last.
      const auto known = newest.find(d.change.node);
      if (known != newest.end() && known->second > d.order) continue;
      std::erase_if(n.names, [&](const auto& name) { return name.second == d.change.node; });
      newest[d.change.node] = d.order;
      n.names[d.change.added] = d.change.node;
    }
  }

  std::optional<size_t> find(const std::filesystem::path& path) const {
    size_t at = 0;
    for (const auto& part : path.relative_path()) {
      if (part.empty()) continue;
      const auto found = nodes_[at].names.find(part.string());
      if (found == nodes_[at].names.end()) return {};
      at = found->second;
    }
    return at;
  }
  int add(const std::filesystem::path& path, bool folder) {
    const std::optional<size_t> parent = find(path.parent_path());
    if (!parent) return -ENOENT;
    nodes_.emplace_back();
    nodes_.back().folder = folder;
    const size_t node = nodes_.size() - 1;
    nodes_[*parent].names[path.filename().string()] = node;
    nodes_[*parent].pending.push_back({"", path.filename().string(), node});
    return 0;
  }
  void changed() {
    if (on_change) on_change();
  }

  std::vector<Node> nodes_;  // 0: the root
  std::map<int, Open> open_;
  int next_ = 3;
};

}  // namespace ballast
