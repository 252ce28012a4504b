# cmake -DROOT=... -DOUT=... -P EmbedPage.cmake: writes the page's files as string literals into OUT.
file(READ "${ROOT}/ballast/report/page.css" PAGE_CSS)
file(READ "${ROOT}/ballast/report/page.js" PAGE_JS)
file(READ "${ROOT}/third_party/uplot/uPlot.min.css" UPLOT_CSS)
file(READ "${ROOT}/third_party/uplot/uPlot.iife.min.js" UPLOT_JS)
string(CONCAT PAGE_SCRIPT "${UPLOT_JS}" "\n" "${PAGE_JS}")
string(SHA256 PAGE_SCRIPT_SHA256 "${PAGE_SCRIPT}")
configure_file("${ROOT}/ballast/report/page_assets.cpp.in" "${OUT}" @ONLY)
