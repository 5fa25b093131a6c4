// @ts-nocheck: types of Node.js would be there for the pages as well, which run in browsers.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Entry, record, split, tar } from './tar';

const encoder = new TextEncoder();

function entry(path: string, text: string, executable = false): Entry {
  const bytes = encoder.encode(text);
  return {
    path,
    size: bytes.length,
    executable,
    chunks: async function* () {
      // In two pieces, as files come.
      yield bytes.slice(0, 3);
      yield bytes.slice(3);
    },
  };
}

async function packed(entries: Entry[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of tar(entries)) parts.push(part);
  return Buffer.concat(parts);
}

const deep = Array.from({ length: 12 }, (_, at) => `folder-number-${at}`).join('/');
const files: [string, string][] = [
  ['agent-manifest.json', '{}'],
  ['empty', ''],
  ['block', 'x'.repeat(512)],
  ['one more', 'y'.repeat(513)],
  ['旅館/入口.txt', 'いらっしゃいませ\n'],
  [`${deep}/by-prefix.txt`, 'prefix'],
  [`${'n'.repeat(200)}.txt`, 'pax'],
  [`${deep}/${'m'.repeat(150)}`, 'pax, too'],
  ['é'.repeat(51), 'more bytes than characters'],
];

test('GNU tar reads what was written', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ryokan-tar-'));
  try {
    const bytes = await packed([...files.map(([path, text]) => entry(path, text)), entry('run', '#!', true)]);
    expect(bytes.length % 512).toBe(0);
    writeFileSync(join(folder, 'all.tar'), bytes);
    const run = (...options: string[]) =>
      execFileSync('tar', ['--quoting-style=literal', ...options, '-f', join(folder, 'all.tar')], {
        cwd: folder,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
    expect(run('-t').trimEnd().split('\n')).toEqual([...files.map(([path]) => path), 'run']);
    run('-x');
    for (const [path, text] of files) expect(readFileSync(join(folder, path), 'utf8')).toBe(text);
    expect(statSync(join(folder, 'run')).mode & 0o111).not.toBe(0);
    expect(statSync(join(folder, 'block')).mode & 0o111).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the same files give the same bytes', async () => {
  const entries = files.map(([path, text]) => entry(path, text));
  expect((await packed(entries)).equals(await packed(entries))).toBe(true);
});

test('names go where they fit, at whole parts', () => {
  expect(split('a'.repeat(100))).toEqual(['', 'a'.repeat(100)]);
  expect(split('a'.repeat(101))).toBeUndefined();
  expect(split(`b/${'a'.repeat(100)}`)).toEqual(['b', 'a'.repeat(100)]);
  expect(split(`${'p'.repeat(155)}/a`)).toEqual(['p'.repeat(155), 'a']);
  expect(split(`${'p'.repeat(156)}/a`)).toBeUndefined();
});

test('a record counts its own length, whatever its digits', () => {
  for (let length = 1; length < 1200; length++) {
    const bytes = record('path', 'x'.repeat(length));
    expect(Number.parseInt(new TextDecoder().decode(bytes))).toBe(bytes.length);
  }
});

test('a file that changes while it is read is refused', async () => {
  await expect(packed([{ ...entry('grows', 'abc'), size: 2 }])).rejects.toThrow('grows changed');
});
