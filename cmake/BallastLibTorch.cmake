# LibTorch, in this order: Torch_DIR or CMAKE_PREFIX_PATH given by the user; a torch 2.x that python3 of the active
# environment imports; the distribution's package.

if(NOT Torch_DIR AND NOT DEFINED ENV{Torch_DIR} AND NOT CMAKE_PREFIX_PATH AND NOT DEFINED ENV{CMAKE_PREFIX_PATH})
  execute_process(
    COMMAND python3 -c "import torch, os; assert torch.__version__.startswith('2.'); print(os.path.dirname(torch.__file__))"
    OUTPUT_VARIABLE BALLAST_PYTHON_TORCH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    # The torch folder itself: with torch.utils.cmake_prefix_path a distribution's libc10 is linked beside the wheel's libtorch.
    set(Torch_DIR "${BALLAST_PYTHON_TORCH}/share/cmake/Torch" CACHE PATH "LibTorch's CMake files")
    list(PREPEND CMAKE_PREFIX_PATH "${BALLAST_PYTHON_TORCH}")
  endif()
elseif(DEFINED ENV{Torch_DIR} AND NOT Torch_DIR)
  set(Torch_DIR "$ENV{Torch_DIR}" CACHE PATH "LibTorch's CMake files")
endif()
if(Torch_DIR MATCHES "share/cmake/Torch/?$")
  get_filename_component(_torch_root "${Torch_DIR}/../../.." ABSOLUTE)
  list(PREPEND CMAKE_PREFIX_PATH "${_torch_root}")
endif()

# Seen by a project that adds this one as a sub-folder, too.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL TRUE)
find_package(Torch QUIET)
if(NOT Torch_FOUND)
  message(FATAL_ERROR "LibTorch was not found. Install libtorch-dev, or give -DTorch_DIR=.../share/cmake/Torch, "
    "or run ./run, which sets everything up. Without LibTorch: cmake --preset core")
endif()
find_package(OpenMP REQUIRED COMPONENTS CXX)

# One interface target; TORCH_CXX_FLAGS stay out of CMAKE_CXX_FLAGS.
add_library(ballast_libtorch INTERFACE)
target_link_libraries(ballast_libtorch INTERFACE torch c10 OpenMP::OpenMP_CXX)
target_include_directories(ballast_libtorch SYSTEM INTERFACE "$<BUILD_INTERFACE:${TORCH_INCLUDE_DIRS}>")

# Every torch library must come from one place.
foreach(t torch c10 torch_cpu)
  if(TARGET ${t})
    get_target_property(_loc ${t} LOCATION)
    if(_loc)
      get_filename_component(_dir "${_loc}" DIRECTORY)
      file(REAL_PATH "${_dir}" _dir)
      list(APPEND _torch_dirs "${_dir}")
    endif()
  endif()
endforeach()
list(REMOVE_DUPLICATES _torch_dirs)
list(LENGTH _torch_dirs _n)
if(_n GREATER 1)
  message(FATAL_ERROR "two LibTorch installations are mixed: ${_torch_dirs}. Give -DTorch_DIR of one of them "
    "and delete the build folder.")
endif()
set(BALLAST_LIBTORCH_VERSION "${Torch_VERSION}")
message(STATUS "LibTorch ${Torch_VERSION} in ${_torch_dirs}")
