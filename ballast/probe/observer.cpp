#include <ballast/probe/observer.h>

#include <ATen/record_function.h>
#include <c10/util/ArrayRef.h>

#include <exception>

namespace ballast {
namespace {

struct Session {
  const std::function<void(const ObservedOp&)>* on_op;
  int depth = 0;
  std::exception_ptr error;
};

// Callbacks are plain functions of this thread: they find their session here.
thread_local Session* session = nullptr;

struct Seen : at::ObserverContext {
  std::vector<c10::IValue> inputs;
};

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& fn) {
  auto seen = std::make_unique<Seen>();
  if (session->depth++ == 0) {
    // Of a boxed call the operator's own values are the last ones of the stack.
    const auto inputs = fn.inputs();
    const size_t own = std::min<size_t>(fn.num_inputs(), inputs.size());
    seen->inputs.assign(inputs.end() - own, inputs.end());
  }
  return seen;
}

void collect(const c10::IValue& value, std::vector<torch::Tensor>& tensors) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) tensors.push_back(value.toTensor());
  } else if (value.isTensorList()) {
    for (const torch::Tensor& t : value.toTensorVector()) tensors.push_back(t);
  }
}

void end(const at::RecordFunction& fn, at::ObserverContext* context) {
  if (--session->depth > 0 || session->error) return;
  at::DisableRecordFunctionGuard unobserved;
  torch::NoGradGuard no_grad;
  // An exception thrown here would be swallowed: it is kept until the run is over.
  try {
    ObservedOp op;
    op.name = fn.name();
    op.inputs = std::move(static_cast<Seen*>(context)->inputs);
    const std::vector<c10::IValue> outputs = fn.outputs();
    const size_t own = std::min<size_t>(fn.num_outputs(), outputs.size());
    for (size_t i = outputs.size() - own; i < outputs.size(); ++i) collect(outputs[i], op.outputs);
    (*session->on_op)(op);
  } catch (...) {
    session->error = std::current_exception();
  }
}

// Registered for its lifetime; an observation inside an observation sees its own operators only.
class Registration {
 public:
  explicit Registration(Session* own) : outer_(session) {
    session = own;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(start, end)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ~Registration() {
    at::removeCallback(handle_);
    session = outer_;
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  Session* outer_;
  at::CallbackHandle handle_ = at::INVALID_CALLBACK_HANDLE;
};

}  // namespace

void observe(const std::function<void()>& run, const std::function<void(const ObservedOp&)>& on_op) {
  Session own{&on_op, 0, nullptr};
  {
    const Registration registration(&own);
    at::RecordFunctionGuard observed(true);
    run();
  }
  if (own.error) std::rethrow_exception(own.error);
}

std::vector<torch::Tensor> input_tensors(const ObservedOp& op) {
  std::vector<torch::Tensor> tensors;
  for (const c10::IValue& value : op.inputs) collect(value, tensors);
  return tensors;
}

}  // namespace ballast
