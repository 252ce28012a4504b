#include <algorithm>
#include <map>

#include <ballast/base/check.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>

#include "arguments.h"
#include "command.h"

namespace ballast::cli {
namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    out.emplace_back(text.substr(0, end));
    text = end == text.size() ? "" : text.substr(end + 1);
  }
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

/// "--opt) values=...": what may follow a flag.
std::string value_cases(const OptionTable& table) {
  std::string out;
  for (const OptionRow& row : table.rows()) {
    std::string names;
    for (const std::string& flag : row.flags()) {
      names += (names.empty() ? "" : "|") + flag;
    }
    std::string values = joined(words_of(row.field.choices));
    if (row.key == "model.init" || row.key == "probe.compare") {
      for (const InitRow& init : kInits) {
        values += (values.empty() ? "" : " ") + std::string(init.name);
      }
    }
    if (row.key == "model.name") {
      for (const ModelRow& model : kModels) {
        values += (values.empty() ? "" : " ") + std::string(model.name);
      }
    }
    if (!names.empty() && !values.empty()) {
      out += "      " + names + ") COMPREPLY=($(compgen -W \"" + values + "\" -- \"$cur\")); return ;;\n";
    }
  }
  return out;
}

std::string bash_script() {
  std::string names, cases;
  std::map<std::string, std::string> seconds;
  for (const CommandEntry& entry : command_catalog()) {
    const std::unique_ptr<Command> command = entry.make();
    const size_t blank = entry.name.find(' ');
    const std::string first(entry.name.substr(0, blank));
    std::string& second = seconds[first];
    if (second.empty()) names += (names.empty() ? "" : " ") + first;
    second += " " + (blank == std::string_view::npos ? "" : std::string(entry.name.substr(blank + 1)));
    std::vector<std::string> flags;
    for (const std::string& flag : all_flags(*command)) {
      // The keys as flags would bury the short spellings.
      if (flag.starts_with("--") && flag.find('.') == std::string::npos) {
        flags.push_back(flag);
      }
    }
    std::string values = value_cases(command->own());
    if (command->sections() != nullptr) {
      values += value_cases(*command->sections());
    }
    std::string words;
    if (first == "config") {
      words = "render explain schema diff";
    } else if (first == "list") {
      words = "models augment init norm runs";
    } else if (first == "completion") {
      words = "bash";
    }
    const std::string pattern = blank == std::string_view::npos ? first + " " : std::string(entry.name);
    cases += "    \"" + pattern + "\"*)\n      case \"$prev\" in\n" + values +
        "      --color) COMPREPLY=($(compgen -W \"auto never\" -- \"$cur\")); return ;;\n      esac\n      flags=\"" + joined(flags) +
        "\" words=\"" + words + "\" ;;\n";
  }
  for (const auto& [first, words] : seconds) {
    if (words != " ") cases += "    \"" + first + " \"*) words=\"" + words.substr(1) + "\" ;;\n";
  }
  return "# bash completion of ballast: eval \"$(ballast completion bash)\"\n"
         "_ballast() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flags= words=\n"
         "  COMPREPLY=()\n"
         "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
         "    COMPREPLY=($(compgen -W \"" +
      names +
      " --help --version\" -- \"$cur\"))\n"
      "    return\n"
      "  fi\n"
      "  case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n" +
      cases +
      "    *) return ;;\n"
      "  esac\n"
      "  case \"$cur\" in\n"
      "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\")) ;;\n"
      "    *) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\") $(compgen -f -- \"$cur\")) ;;\n"
      "  esac\n"
      "}\n"
      "complete -o filenames -F _ballast ballast\n";
}

class CompletionCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "completion",
        .summary = "a script that completes commands, flags and values in a shell",
        .operands = "bash",
        .about = "",
        .examples =
            {
                {"in this shell", "eval \"$(ballast completion bash)\""},
                {"for ever", "ballast completion bash > ~/.local/share/bash-completion/completions/ballast"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    if (arguments.operands[0] != "bash") {
      usage_error("completion knows bash only, got \"" + arguments.operands[0] + "\"");
    }
    const std::string script = bash_script();
    session.print(script);
    session.document({{"shell", "bash"}, {"script", script}});
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Command> make_completion_command() { return std::make_unique<CompletionCommand>(); }

}  // namespace ballast::cli
