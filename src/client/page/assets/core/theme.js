// Sets the theme before the first paint. A classic script, because modules run later.
try {
  const theme = localStorage.getItem("posse.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the page follows the system's theme.
}
