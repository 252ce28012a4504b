# ballast_room(NAME SOURCES ... HEADERS ... TESTS ... BENCHES ... PRIVATE_HEADERS ... LINK ...)
#
# Adds the files of a room to its library (ballast_core or ballast_torch), makes one test executable
# ballast_NAME_test (one ctest entry) and, with BALLAST_BENCHMARKS, one ballast_NAME_bench.
# HEADERS are public: installed, and each is compiled alone (ctest headers_alone_core, headers_alone_torch).
# Test data: BALLAST_TEST_SOURCE_DIR is the project's root.

set(BALLAST_CORE_ROOMS base io image augment data control ensemble report)
set(BALLAST_TORCH_ROOMS ops probe init norm drop loss models weights train lab)

# Targets ballast_core_verify_interface_header_sets and ballast_torch_...: each public header is compiled alone.
if(BALLAST_TESTS)
  set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
endif()

# ballast_unity(TARGET): with BALLAST_UNITY, its files are compiled several at once. LibTorch's headers take g++ 4 s of every file,
# precompiled or not: it instantiates the templates pending in them again each time.
function(ballast_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${BALLAST_UNITY} UNITY_BUILD_BATCH_SIZE 8)
endfunction()

# Precompiled headers hold what most files use and no more: g++ instantiates the templates pending in them again in every file.
add_library(ballast_core SHARED)
add_library(ballast::core ALIAS ballast_core)
set_target_properties(ballast_core PROPERTIES EXPORT_NAME core VERSION ${PROJECT_VERSION} SOVERSION 0)
if(BALLAST_TORCH)
  add_library(ballast_torch SHARED)
  add_library(ballast::torch ALIAS ballast_torch)
  set_target_properties(ballast_torch PROPERTIES EXPORT_NAME torch VERSION ${PROJECT_VERSION} SOVERSION 0)
  target_link_libraries(ballast_torch PUBLIC ballast_core ballast_libtorch)
  target_precompile_headers(ballast_torch PRIVATE <torch/types.h> <torch/nn/cloneable.h> <torch/nn/pimpl.h> <algorithm> <map> <memory> <string> <vector>)
  ballast_warnings(ballast_torch)
  ballast_unity(ballast_torch)
endif()
target_compile_features(ballast_core PUBLIC cxx_std_20)
target_include_directories(ballast_core PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_include_directories(ballast_core SYSTEM PRIVATE
  ${BALLAST_RANDOM123_INCLUDE} ${BALLAST_PROTOZERO_INCLUDE} ${BALLAST_TOML_INCLUDE})
target_link_libraries(ballast_core PUBLIC Threads::Threads
  PRIVATE PkgConfig::hwy PkgConfig::webp JPEG::JPEG PNG::PNG ZLIB::ZLIB $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
ballast_warnings(ballast_core)

# Tests are built far more often than they run, and what they test lies in the libraries: -O1 takes 0.6 of -O3's time.
set(BALLAST_TEST_OPTIONS $<$<CONFIG:Release>:-O1>)

# One target of each half holds the precompiled header that its tests share.
if(BALLAST_TESTS)
  add_library(ballast_test_support INTERFACE)
  target_link_libraries(ballast_test_support INTERFACE GTest::gtest GTest::gmock GTest::gtest_main ${BALLAST_RAPIDCHECK_LIBRARY}
    nlohmann_json::nlohmann_json PkgConfig::hwy)
  target_include_directories(ballast_test_support SYSTEM INTERFACE ${BALLAST_RAPIDCHECK_INCLUDE} ${BALLAST_RANDOM123_INCLUDE}
    ${BALLAST_TOML_INCLUDE} ${BALLAST_PROTOZERO_INCLUDE})
  target_compile_definitions(ballast_test_support INTERFACE BALLAST_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/test_pch.cpp" CONTENT "int main() {}\n")
  # Executables, not object libraries: their code must be compiled with -fPIE as the tests' is.
  function(ballast_test_pch library)
    add_executable(${library}_test_pch "${PROJECT_BINARY_DIR}/test_pch.cpp")
    target_link_libraries(${library}_test_pch PRIVATE ${library} ballast_test_support)
    target_precompile_headers(${library}_test_pch PRIVATE ${ARGN} <gtest/gtest.h>)
    ballast_warnings(${library}_test_pch)
    target_compile_options(${library}_test_pch PRIVATE ${BALLAST_TEST_OPTIONS})
  endfunction()
  ballast_test_pch(ballast_core <gmock/gmock.h> <filesystem>)
  if(BALLAST_TORCH)
    ballast_test_pch(ballast_torch <torch/types.h> <torch/autograd.h> <torch/nn/modules/batchnorm.h>
      <torch/nn/modules/container/sequential.h> <torch/nn/modules/conv.h> <torch/nn/modules/linear.h>)
  endif()
endif()

# ballast_without_torch(FILES): files of ballast_torch that include none of its headers, kernels for several targets say: each is
# compiled alone, without a precompiled header.
function(ballast_without_torch)
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ballast_torch PROPERTIES
    SKIP_PRECOMPILE_HEADERS ON SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

function(ballast_room room)
  cmake_parse_arguments(PARSE_ARGV 1 R "" "" "SOURCES;HEADERS;PRIVATE_HEADERS;TESTS;BENCHES;LINK")
  if(R_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "ballast_room(${room}): unknown arguments ${R_UNPARSED_ARGUMENTS}")
  endif()
  if(room IN_LIST BALLAST_CORE_ROOMS)
    set(library ballast_core)
  else()
    set(library ballast_torch)
  endif()
  foreach(kind SOURCES HEADERS PRIVATE_HEADERS)
    list(TRANSFORM R_${kind} PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
  endforeach()
  target_sources(${library} PRIVATE ${R_SOURCES} ${R_PRIVATE_HEADERS}
    PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${R_HEADERS})
  if(R_LINK)
    target_link_libraries(${library} PRIVATE ${R_LINK})
  endif()

  if(BALLAST_TESTS AND R_TESTS)
    set(test ballast_${room}_test)
    add_executable(${test} ${R_TESTS})
    target_link_libraries(${test} PRIVATE ${library} ballast_test_support ${R_LINK})
    ballast_warnings(${test})
    target_compile_options(${test} PRIVATE ${BALLAST_TEST_OPTIONS})
    target_precompile_headers(${test} REUSE_FROM ${library}_test_pch)
    if(library STREQUAL ballast_torch)
      ballast_unity(${test})
      set(labels torch)
    else()
      set(labels core)
    endif()
    add_test(NAME ${room} COMMAND ${test} WORKING_DIRECTORY "${PROJECT_BINARY_DIR}")
    set_tests_properties(${room} PROPERTIES LABELS ${labels} TIMEOUT 900 ENVIRONMENT "OMP_WAIT_POLICY=PASSIVE")
  endif()
  if(BALLAST_BENCHMARKS AND R_BENCHES)
    add_executable(ballast_${room}_bench ${R_BENCHES})
    target_link_libraries(ballast_${room}_bench PRIVATE ${library} benchmark::benchmark benchmark::benchmark_main ${R_LINK})
    ballast_warnings(ballast_${room}_bench)
  endif()
endfunction()
