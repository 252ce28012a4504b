// Stand-ins for the CUDA symbols that the image extension of PyPI's torchvision 0.28.0 names and a CPU build of PyTorch
// has not, so that its decode_jpeg can be measured on a machine without CUDA. Decoding on the CPU calls none of them;
// whatever does call one aborts.
#include <stdlib.h>

#define STUB(name)   \
  void name(void);   \
  void name(void) {  \
    abort();         \
  }

STUB(_ZN2at4cuda26getCurrentDevicePropertiesEv)
STUB(_ZN3c104cuda12device_countEv)
STUB(_ZN3c104cuda14ExchangeDeviceEa)
STUB(_ZN3c104cuda14MaybeSetDeviceEa)
STUB(_ZN3c104cuda14current_deviceEv)
STUB(_ZN3c104cuda17getStreamFromPoolEba)
STUB(_ZN3c104cuda17getStreamFromPoolEia)
STUB(_ZN3c104cuda20getCurrentCUDAStreamEa)
STUB(_ZN3c104cuda20getDefaultCUDAStreamEa)
STUB(_ZN3c104cuda20setCurrentCUDAStreamENS0_10CUDAStreamE)
STUB(_ZN3c104cuda29c10_cuda_check_implementationEiPKcS2_jb)
STUB(_ZN3c104cuda9GetDeviceEPa)
STUB(_ZN3c104cuda9SetDeviceEab)
STUB(_ZNK3c104cuda10CUDAStream11synchronizeEv)
STUB(_ZNK3c104cuda10CUDAStream5queryEv)
STUB(_ZNK3c104cuda10CUDAStream6streamEv)

// c10::cuda::CUDACachingAllocator::allocator, a pointer.
void* _ZN3c104cuda20CUDACachingAllocator9allocatorE = 0;
