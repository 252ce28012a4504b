#include <ballast/train/export_torchscript.h>

#include <charconv>
#include <sstream>

#include <torch/csrc/jit/runtime/operator.h>
#include <torch/script.h>

#include <ballast/base/check.h>

namespace ballast {
namespace {

// The dotted name of a tensor as code: self.layer1.conv1.weight, with numbers through getattr.
std::string attribute(const std::string& name) {
  std::string code = "self";
  std::istringstream parts(name);
  for (std::string part; std::getline(parts, part, '.');) {
    code = part.find_first_not_of("0123456789") == std::string::npos ? "getattr(" + code + ", \"" + part + "\")" : code + "." + part;
  }
  return code;
}

std::string text(const ProgramTensor& t) {
  return t.kind == ProgramTensor::Kind::input ? "x"
         : t.kind == ProgramTensor::Kind::parameter ? attribute(t.name)
                                                    : "v" + std::to_string(t.result) + (t.part < 0 ? "" : "[" + std::to_string(t.part) + "]");
}

std::string text(const ProgramBatch& b) { return b.k == 1 ? "n" : "n * " + std::to_string(b.k); }

struct ArgumentText {
  std::string operator()(std::monostate) const { return "None"; }
  std::string operator()(const ProgramTensor& t) const { return text(t); }
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(const ProgramBatch& b) const { return text(b); }
  std::string operator()(double v) const { return script_number(v); }
  std::string operator()(bool v) const { return v ? "True" : "False"; }
  std::string operator()(const std::string& v) const { return "\"" + v + "\""; }
  std::string operator()(const std::vector<ProgramSize>& list) const {
    if (list.empty()) return "x.size()[:0]";  // [] would be a list of tensors
    std::string out;
    for (const ProgramSize& s : list) {
      out += (out.empty() ? "" : ", ") + (std::holds_alternative<int64_t>(s) ? std::to_string(std::get<int64_t>(s)) : text(std::get<ProgramBatch>(s)));
    }
    return "[" + out + "]";
  }
  std::string operator()(const std::vector<ProgramTensor>& list) const {
    std::string out;
    for (const ProgramTensor& t : list) out += (out.empty() ? "" : ", ") + text(t);
    return "[" + out + "]";
  }
};

bool fits(const ProgramArgument& value, const c10::Argument& argument) {
  c10::TypePtr type = argument.type();
  if (const auto optional = type->cast<c10::OptionalType>()) {
    if (std::holds_alternative<std::monostate>(value)) return true;
    type = optional->getElementType();
  }
  const c10::TypeKind kind = type->kind();
  const bool number = kind == c10::TypeKind::NumberType;
  switch (value.index()) {
    case 0: return false;
    case 1: return kind == c10::TypeKind::TensorType;
    case 2:
    case 3: return number || kind == c10::TypeKind::IntType || kind == c10::TypeKind::SymIntType;
    case 4: return number || kind == c10::TypeKind::FloatType;
    case 5: return kind == c10::TypeKind::BoolType;
    case 6: return kind == c10::TypeKind::StringType;
    default: return kind == c10::TypeKind::ListType;
  }
}

// The schema of an operator's overload with these arguments: which of them are given by name.
const c10::FunctionSchema& schema_of(const ProgramOp& op) {
  const auto all = torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(op.name));
  for (const auto& candidate : all) {
    const std::vector<c10::Argument>& arguments = candidate->schema().arguments();
    bool good = arguments.size() == op.arguments.size() && !candidate->schema().is_mutable();
    for (size_t i = 0; good && i < arguments.size(); ++i) {
      good = !arguments[i].is_out() && fits(op.arguments[i], arguments[i]);
    }
    if (good) return candidate->schema();
  }
  fail("export", "operator ", op.name, " with ", op.arguments.size(), " arguments has no counterpart in TorchScript");
}

// Registers a tensor under its dotted name, with the modules on the way.
void add_tensor(torch::jit::Module module, const std::string& name, const torch::Tensor& tensor,
                const std::shared_ptr<torch::jit::CompilationUnit>& unit) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) {
    if (tensor.requires_grad()) {
      module.register_parameter(name, tensor.detach().clone().set_requires_grad(true), /*is_buffer=*/false);
    } else {
      module.register_buffer(name, tensor.detach().clone());
    }
    return;
  }
  const std::string child = name.substr(0, dot);
  if (!module.hasattr(child)) {
    static int64_t counter = 0;  // each module has a class of its own
    module.register_module(child, torch::jit::Module("__torch__.ballast.Part" + std::to_string(counter++), unit));
  }
  add_tensor(module.attr(child).toModule(), name.substr(dot + 1), tensor, unit);
}

}  // namespace

std::string torchscript_source(const ModelProgram& program) {
  std::string code = "def forward(self, x):\n    n = x.size(0)\n";
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const ProgramOp& op = program.ops[i];
    const std::vector<c10::Argument>& arguments = schema_of(op).arguments();
    std::string list;
    for (size_t k = 0; k < op.arguments.size(); ++k) {
      list += (list.empty() ? "" : ", ") + (arguments[k].kwarg_only() ? arguments[k].name() + "=" : "") + std::visit(ArgumentText(), op.arguments[k]);
    }
    code += "    v" + std::to_string(i) + " = torch." + op.name.substr(op.name.find("::") + 2) + "(" + list + ")\n";
  }
  return code + "    return v" + std::to_string(program.ops.size() - 1) + "\n";
}

std::string script_number(double value) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  std::string out(buffer.data(), end);
  return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
}

torch::jit::Module script_module(const ModelProgram& program, const std::string& class_name,
                                 const std::shared_ptr<torch::jit::CompilationUnit>& unit) {
  torch::jit::Module module(class_name, unit);
  for (const auto& [name, tensor] : program.tensors) {
    add_tensor(module, name, tensor, unit);
  }
  module.define(torchscript_source(program));
  module.eval();
  return module;
}

namespace {

torch::jit::Module script_module(const ModelProgram& program) {
  return script_module(program, "__torch__.ballast.Model",
                       std::make_shared<torch::jit::CompilationUnit>());
}

}  // namespace

torch::Tensor run_program(const ModelProgram& program, const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  return script_module(program).forward({x}).toTensor();
}

double write_torchscript(FileSystem& fs, const std::filesystem::path& path, const ModelProgram& program, const torch::Tensor& x,
                         const torch::Tensor& expected) {
  return write_module(fs, path, script_module(program), x, expected);
}

double write_module(FileSystem& fs, const std::filesystem::path& path,
                    const torch::jit::Module& module, const torch::Tensor& x,
                    const torch::Tensor& expected) {
  std::ostringstream bytes;
  module.save(bytes);
  const std::string file = bytes.str();
  write_file_atomic(fs, path, std::as_bytes(std::span(file)));
  const torch::NoGradGuard no_grad;
  torch::jit::Module again = torch::jit::load(path.string());
  const torch::Tensor y = again.forward({x}).toTensor();
  return (y - expected).abs().max().item<double>();
}

}  // namespace ballast
