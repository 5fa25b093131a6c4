// A static single page: no server rendering. The server of ryokan embeds `build/site` and answers its paths with
// `index.html`; see `docs/dashboard.md`.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import adapter from '@sveltejs/adapter-static';

/** The same sources give the same name, so that a build can be repeated and an open page notices a new one. */
function version() {
  const hash = createHash('sha256');
  const files = readdirSync('src', { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  for (const file of files.map((entry) => `${entry.parentPath}/${entry.name}`).sort())
    hash.update(readFileSync(file));
  return hash.update(readFileSync('package-lock.json')).digest('hex').slice(0, 16);
}

export default {
  kit: {
    adapter: adapter({ pages: 'build/site', fallback: 'index.html', precompress: true }),
    paths: { relative: false },
    version: { name: version() },
  },
};
