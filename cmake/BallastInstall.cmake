# Install and export with components: find_package(ballast COMPONENTS core torch).
include(CMakePackageConfigHelpers)
set(_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ballast")

install(TARGETS ballast_core EXPORT ballast-core
  LIBRARY COMPONENT core FILE_SET HEADERS COMPONENT core)
install(EXPORT ballast-core NAMESPACE ballast:: DESTINATION "${_dir}" COMPONENT core)
if(BALLAST_TORCH)
  install(TARGETS ballast_torch EXPORT ballast-torch
    LIBRARY COMPONENT torch FILE_SET HEADERS COMPONENT torch)
  install(TARGETS ballast_libtorch EXPORT ballast-torch)
  install(EXPORT ballast-torch NAMESPACE ballast:: DESTINATION "${_dir}" COMPONENT torch)
  # The libraries find each other beside themselves, and LibTorch where it was at build time.
  set_target_properties(ballast_torch PROPERTIES INSTALL_RPATH "\$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)
  set(BALLAST_TORCH_DIR "${Torch_DIR}")
endif()
set_target_properties(ballast_core PROPERTIES INSTALL_RPATH "\$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)

configure_package_config_file(cmake/ballastConfig.cmake.in ballastConfig.cmake INSTALL_DESTINATION "${_dir}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(ballastConfigVersion.cmake VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ballastConfig.cmake" "${PROJECT_BINARY_DIR}/ballastConfigVersion.cmake"
  DESTINATION "${_dir}" COMPONENT core)
