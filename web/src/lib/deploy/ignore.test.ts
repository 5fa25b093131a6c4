import { expect, test } from 'vitest';
import { ignoring } from './ignore';

const kept = (text: string, paths: string[]) => paths.filter((path) => ignoring(text)(path) === undefined);

test('what is always left out', () => {
  const out = ignoring('');
  expect(out('.git/config')).toBe('.git');
  expect(out('node_modules/a/b.js')).toBe('node_modules');
  expect(out('web/node_modules/a/b.js')).toBe('web/node_modules');
  expect(out('.gitignore')).toBeUndefined();
  expect(out('my_node_modules/a')).toBeUndefined();
});

test('plain names, at any depth or from the top', () => {
  const paths = ['dist/a', 'web/dist/a', 'distant', 'top.txt', 'web/top.txt'];
  expect(kept('dist', paths)).toEqual(['distant', 'top.txt', 'web/top.txt']);
  expect(kept('/top.txt', paths)).toEqual(['dist/a', 'web/dist/a', 'distant', 'web/top.txt']);
  expect(kept('./web/dist/\r\n# distant\n\n', paths)).toEqual([
    'dist/a',
    'distant',
    'top.txt',
    'web/top.txt',
  ]);
});

test('stars, and taking back', () => {
  const paths = ['a.env', 'keep.env', 'x/b.env', 'x/y/c.log', 'aXenv'];
  expect(kept('*.env\n!keep.env', paths)).toEqual(['keep.env', 'x/y/c.log', 'aXenv']);
  expect(kept('x/**/*.log', paths)).toEqual(['a.env', 'keep.env', 'x/b.env', 'aXenv']);
  expect(kept('?.env', paths)).toEqual(['keep.env', 'x/y/c.log', 'aXenv']);
  // What is in a folder that is left out cannot be taken back.
  expect(kept('x\n!x/b.env', paths)).toEqual(['a.env', 'keep.env', 'aXenv']);
});

test('a pattern for folders leaves files alone', () => {
  expect(kept('build/', ['build', 'a/build/b'])).toEqual(['build']);
});

test('what is no pattern is said', () => {
  expect(() => ignoring('[z-a]')).toThrow('[z-a]');
});
