// A tar archive (ustar, with pax records for names that do not fit) as chunks. Only files: folders come with them.

const BLOCK = 512;
const NAME = 100;
const PREFIX = 155;
const encoder = new TextEncoder();

export interface Entry {
  /** Relative, with `/` between its parts. */
  path: string;
  size: number;
  executable: boolean;
  chunks: () => AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** The part of a path that goes into the field `prefix`, and the rest, in bytes; undefined when it fits nowhere. */
export function split(path: string): [prefix: string, name: string] | undefined {
  const length = (text: string) => encoder.encode(text).length;
  if (length(path) <= NAME) return ['', path];
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (length(prefix) > PREFIX) return undefined;
    if (name && length(name) <= NAME) return [prefix, name];
  }
  return undefined;
}

function header(name: string, prefix: string, size: number, mode: string, kind: string) {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => block.set(encoder.encode(text), at);
  const octal = (at: number, width: number, value: number) =>
    put(at, `${value.toString(8).padStart(width - 1, '0')}\0`);
  put(0, name);
  put(100, `${mode}\0`);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  // The same folder gives the same bytes, so no times.
  octal(136, 12, 0);
  put(148, ' '.repeat(8));
  put(156, kind);
  put(257, 'ustar\x0000');
  put(345, prefix);
  const sum = block.reduce((sum, byte) => sum + byte, 0);
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  return block;
}

const padding = (size: number) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** A record counts itself: `29 path=…\n`, where 29 is the length of all of it. */
export function record(key: string, value: string): Uint8Array<ArrayBuffer> {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return encoder.encode(`${length} ${key}=${value}\n`);
}

/** The archive, in the order of the entries. A file that is not as long as it was said to be ends it. */
export async function* tar(entries: Iterable<Entry>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (const { path, size, executable, chunks } of entries) {
    const mode = executable ? '0000755' : '0000644';
    const fits = split(path);
    if (!fits) {
      const path_record = record('path', path);
      yield header('pax', '', path_record.length, '0000644', 'x');
      yield path_record;
      yield padding(path_record.length);
    }
    const [prefix, name] = fits ?? ['', 'long'];
    yield header(name, prefix, size, mode, '0');
    let sent = 0;
    for await (const chunk of chunks()) {
      sent += chunk.length;
      yield chunk;
    }
    if (sent !== size) throw new Error(`${path} changed while it was read; drop the folder again.`);
    yield padding(size);
  }
  yield new Uint8Array(2 * BLOCK);
}
