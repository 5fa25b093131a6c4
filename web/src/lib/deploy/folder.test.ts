import { expect, test } from 'vitest';
import { look, named } from './folder';

const found = (files: Record<string, string>) =>
  Object.entries(files).map(([path, text]) => ({ path, file: new File([text], path) }));

test('what is sent, and what stays at home', async () => {
  const folder = await look({
    name: 'My Tea!',
    found: found({
      'index.js': 'x',
      'node_modules/a': 'x',
      'node_modules/b': 'x',
      'agent-manifest.json': '{}',
      'notes.json': '',
      '.dockerignore': '*.json\n',
    }),
  });
  expect(folder.name).toBe('my-tea');
  expect(folder.files.map((one) => one.path)).toEqual(['.dockerignore', 'agent-manifest.json', 'index.js']);
  expect(folder.left).toEqual([
    { path: 'node_modules', files: 2 },
    { path: 'notes.json', files: 1 },
  ]);
  expect(folder.bytes).toBe(10);
});

test('the manifest says the name', async () => {
  const folder = await look({ name: 'x', found: found({ 'agent-manifest.json': '{"name":"bot"}' }) });
  expect(folder.name).toBe('bot');
});

test('a folder that cannot be deployed is refused before anything is sent', async () => {
  await expect(look({ name: 'x', found: found({ 'a/agent-manifest.json': '{}' }) })).rejects.toThrow(
    'at its top',
  );
  await expect(look({ name: 'x', found: found({ 'agent-manifest.json': '{' }) })).rejects.toThrow('not JSON');
});

test('names of folders become names of agents', () => {
  expect([named('Tea House 2'), named('--a__b--'), named('旅館'), named('x'.repeat(60)).length]).toEqual([
    'tea-house-2',
    'a-b',
    '',
    40,
  ]);
});
