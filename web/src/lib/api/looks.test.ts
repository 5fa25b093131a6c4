import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Looks } from './looks';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Looks that take 100 ms each; says when each began and ended, in milliseconds since the start. */
function slow(again?: number) {
  const began = Date.now();
  const told: string[] = [];
  const looks = new Looks(async () => {
    told.push(`begin ${Date.now() - began}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    told.push(`end ${Date.now() - began}`);
    return again;
  });
  return { looks, told };
}

test('what is asked for during a look is done after it, and not put off by it', async () => {
  const { looks, told } = slow(30_000);
  void looks.now();
  await vi.advanceTimersByTimeAsync(50);
  looks.soon(80);
  await vi.advanceTimersByTimeAsync(1000);
  expect(told).toEqual(['begin 0', 'end 100', 'begin 130', 'end 230']);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(told.slice(4)).toEqual(['begin 30230', 'end 30330']);
});

test('the soonest counts, and many are one', async () => {
  const { looks, told } = slow();
  looks.soon(500);
  looks.soon(80);
  looks.soon(300);
  await vi.advanceTimersByTimeAsync(2000);
  expect(told).toEqual(['begin 80', 'end 180']);
});

test('who waits for a look has one that began after the call, and two who wait share it', async () => {
  const { looks, told } = slow();
  looks.soon(0);
  await vi.advanceTimersByTimeAsync(50);
  const both = Promise.all([looks.now(), looks.now()]);
  await vi.advanceTimersByTimeAsync(1000);
  await both;
  expect(told).toEqual(['begin 0', 'end 100', 'begin 100', 'end 200']);
});

test('after a stop there is no look any more', async () => {
  const { looks, told } = slow(10);
  looks.soon(0);
  await vi.advanceTimersByTimeAsync(50);
  looks.stop();
  looks.soon(0);
  await vi.advanceTimersByTimeAsync(1000);
  expect(told).toEqual(['begin 0', 'end 100']);
});
