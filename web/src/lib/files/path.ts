// Absolute paths inside an agent.

export const join = (folder: string, name: string) => `${folder === '/' ? '' : folder}/${name}`;

/** The folders from the root down to `path`, each with its name. */
export function crumbs(path: string): { name: string; path: string }[] {
  const names = path.split('/').filter(Boolean);
  return [
    { name: '/', path: '/' },
    ...names.map((name, at) => ({ name, path: `/${names.slice(0, at + 1).join('/')}` })),
  ];
}

/** Where a symbolic link in `folder` leads. */
export function resolve(folder: string, link: string): string {
  const parts: string[] = [];
  for (const part of (link.startsWith('/') ? link : `${folder}/${link}`).split('/')) {
    if (part === '..') parts.pop();
    else if (part && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}
