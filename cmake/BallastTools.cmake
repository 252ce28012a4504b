# Compilers' helpers: found if present, never required.

if(PROJECT_IS_TOP_LEVEL)
  find_program(BALLAST_CCACHE ccache)
  if(BALLAST_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # base_dir and no hash_dir: two clones of the project share their objects.
    set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND}" -E env "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime"
      "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" "CCACHE_NOHASHDIR=1" "${BALLAST_CCACHE}")
  endif()
  find_program(BALLAST_MOLD mold)
  if(BALLAST_MOLD)
    add_link_options(-fuse-ld=mold)
  endif()
endif()

# What ccache needs to know a precompiled header; the same in a parent project's build, so that both share their objects.
if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache")
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif()

if(BALLAST_SANITIZE)
  add_compile_options(-fsanitize=${BALLAST_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${BALLAST_SANITIZE})
endif()

# Warnings are private to our own targets: nothing of them reaches a consumer.
function(ballast_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wshadow -Wno-sign-conversion
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-stringop-overflow -Wno-array-bounds>  # g++ 12 sees overlaps in std::string where there are none (gcc 105651)
    $<$<BOOL:${BALLAST_WERROR}>:-Werror>)
  # Results that are promised equal on every target must not depend on whether a compiler fuses a*b+c.
  target_compile_options(${target} PRIVATE -ffp-contract=off)
endfunction()
