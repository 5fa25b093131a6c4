import { describe, expect, test } from 'vitest';
import { Parser } from './sse';

const text =
  ': keep-alive\n\nid: 7\nevent: instance.ready\ndata: {"a":1}\n\ndata: one\r\ndata:two\r\n\r\nevent: nothing\n\n';

const expected = [
  { event: 'instance.ready', data: '{"a":1}', id: '7' },
  { event: 'message', data: 'one\ntwo', id: '7' },
];

describe('server-sent events', () => {
  test('are parsed', () => {
    expect(new Parser().feed(text)).toEqual(expected);
  });

  test('are the same wherever the network cuts them', () => {
    for (let size = 1; size < 9; size++) {
      const parser = new Parser();
      const messages = [];
      for (let at = 0; at < text.length; at += size) messages.push(...parser.feed(text.slice(at, at + size)));
      expect(messages).toEqual(expected);
    }
  });

  test('that have not ended are not told', () => {
    const parser = new Parser();
    expect(parser.feed('data: half')).toEqual([]);
    expect(parser.feed('\n')).toEqual([]);
    expect(parser.feed('\n')).toEqual([{ event: 'message', data: 'half', id: '' }]);
  });
});
