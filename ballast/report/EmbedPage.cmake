# cmake -DROOT=... -DOUT=... -P EmbedPage.cmake: writes the page's files as string literals into OUT.
file(READ "${ROOT}/ballast/report/page.css" PAGE_CSS)
file(READ "${ROOT}/ballast/report/page.js" PAGE_JS)
file(READ "${ROOT}/third_party/uplot/uPlot.min.css" UPLOT_CSS)
file(READ "${ROOT}/third_party/uplot/uPlot.iife.min.js" UPLOT_JS)
configure_file("${ROOT}/ballast/report/page_assets.cpp.in" "${OUT}" @ONLY)
