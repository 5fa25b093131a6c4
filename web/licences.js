// Puts the licences of everything that the dashboard is bundled from beside it, as those licences want, and refuses
// what is not permissive: a build with another kind of licence does not come to its end.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const PERMISSIVE = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD'];

/** The folder of the package that a module is out of. */
function folder(module) {
  const found = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module.split('?')[0]);
  return found?.[0];
}

function entry(path) {
  const { name, version, license } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
  if (!PERMISSIVE.includes(license)) throw new Error(`${name} is under ${license}, which is not permissive`);
  const file = readdirSync(path).find((one) => /^licen[cs]e/i.test(one));
  return `${name} ${version}, ${license}\n\n${file ? readFileSync(join(path, file), 'utf8').trim() : ''}\n`;
}

export function licences() {
  return {
    name: 'licences',
    applyToEnvironment: (environment) => environment.name === 'client',
    generateBundle() {
      const modules = [...this.getModuleIds()]
        .map(folder)
        .filter((path) => path && existsSync(join(path, 'package.json')));
      const texts = [...new Set(modules)].sort().map(entry);
      this.emitFile({
        type: 'asset',
        fileName: '_app/licences.txt',
        source: texts.join(`\n${'-'.repeat(72)}\n\n`),
      });
    },
  };
}
