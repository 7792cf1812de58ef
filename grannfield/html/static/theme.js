(() => {
  let kept = null;
  try { kept = localStorage.getItem("grannfield-theme"); } catch (_) { /* no storage for files in some browsers */ }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = kept === "dark" || kept === "light" ? kept : dark ? "dark" : "light";
})();
