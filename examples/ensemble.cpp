// Opens an ensemble and asks it about noise: ensemble RUN. What ballast predict does for pictures,
// on a tensor of yours.
#include <cstdio>

#include <ATen/Functions.h>

#include <ballast/train/ensemble_model.h>

int main(int argc, char** argv) {
  ballast::Ensemble ensemble = ballast::load_ensemble(argc > 1 ? argv[1] : "runs/ens");
  const ballast::NetInput& in = ensemble.inputs()[0];
  const torch::Tensor pixels = at::full({4, in.channels, in.height, in.width}, 0.5);
  const ballast::EnsembleOutput out = ensemble.predict(pixels);
  std::printf("%s: %.3f, %lld of %lld members agree, %.4f nats apart\n",
              ensemble.classes()[out.label[0].item<int64_t>()].c_str(),
              out.probability[0].max().item<double>(),
              static_cast<long long>(out.members_agree[0].item<int64_t>()),
              static_cast<long long>(out.members_used), out.mutual_information[0].item<double>());
}
