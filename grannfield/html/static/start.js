/* Everything is in place: show what the address asks for. */
routes.set("model", modelPage);
routes.set("compare", comparePage);
routes.set("paths", pathsPage);
addEventListener("hashchange", () => { if (panel.open) { opener = null; panel.close(); } follow(); });
nameTheme();
filter();
follow(false);
document.documentElement.dataset.ready = String(Math.round(performance.now()));
