// Before the first paint: the theme that was chosen here earlier, or else the system's, now and when it changes.
{
  const system = matchMedia('(prefers-color-scheme: dark)');
  const show = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem('theme');
    } catch {
      // No storage: the system's theme.
    }
    document.documentElement.dataset.theme = chosen ?? (system.matches ? 'dark' : 'light');
  };
  system.addEventListener('change', show);
  show();
}
