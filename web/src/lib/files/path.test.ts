import { expect, test } from 'vitest';
import { crumbs, join, resolve } from './path';

test('paths', () => {
  expect([join('/', 'a'), join('/a', 'b')]).toEqual(['/a', '/a/b']);
  expect(crumbs('/').map((crumb) => crumb.path)).toEqual(['/']);
  expect(crumbs('/data/notes').map((crumb) => crumb.path)).toEqual(['/', '/data', '/data/notes']);
  expect([
    resolve('/bin', 'busybox'),
    resolve('/a/b', '../c/./d'),
    resolve('/a', '/etc'),
    resolve('/', '../..'),
  ]).toEqual(['/bin/busybox', '/a/c/d', '/etc', '/']);
});
