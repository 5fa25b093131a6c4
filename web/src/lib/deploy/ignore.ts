// What `.dockerignore` leaves at home, by the rules that `ryokan deploy` has: the last pattern that fits decides, `!`
// takes back, `#` is a remark, and what is in a folder that is left out is left out with it.

interface Rule {
  test: RegExp;
  keep: boolean;
  folders: boolean;
}

function expression(pattern: string): RegExp {
  // A pattern with a slash inside is meant from the top; others fit at any depth.
  const anchored = pattern.includes('/');
  const body = pattern
    .replace(/^\//, '')
    .split('/')
    .map((part) =>
      part === '**'
        ? '**'
        : part
            .replace(/[.+^${}()|\\]/g, '\\$&')
            .replace(/\[!/g, '[^')
            .replace(/\*+/g, '[^/]*')
            .replace(/\?/g, '[^/]'),
    )
    .join('/')
    .replaceAll('**/', '(?:.*/)?')
    .replaceAll('**', '.*');
  return new RegExp(`^${anchored ? '' : '(?:.*/)?'}${body}$`);
}

function rules(text: string): Rule[] {
  const found: Rule[] = [];
  for (const line of text.split(/\r?\n/).map((line) => line.trim())) {
    if (!line || line.startsWith('#')) continue;
    const keep = line.startsWith('!');
    const rest = (keep ? line.slice(1).trim() : line).replace(/^\.\//, '');
    const folders = rest.endsWith('/');
    const pattern = rest.replace(/\/+$/, '');
    if (!pattern) continue;
    try {
      found.push({ test: expression(pattern), keep, folders });
    } catch {
      throw new Error(`.dockerignore: "${line}" is not a pattern.`);
    }
  }
  return found;
}

/** Always left out. Browsers would read each of their thousands of files; what a build needs of them it makes itself. */
const heavy = (path: string) => path === '.git' || path.split('/').at(-1) === 'node_modules';

/** By the text of a `.dockerignore`: the topmost part of a path that is left out, if any is. */
export function ignoring(text: string): (path: string) => string | undefined {
  const all = rules(text);
  return (path) => {
    const parts = path.split('/');
    for (let depth = 1; depth <= parts.length; depth++) {
      const part = parts.slice(0, depth).join('/');
      const folder = depth < parts.length;
      const fits = (rule: Rule) => (folder || !rule.folders) && rule.test.test(part);
      if (heavy(part)) return part;
      if (all.findLast(fits)?.keep === false) return part;
    }
    return undefined;
  };
}
