// A folder as an artifact: a gzipped tar.
import type { Found } from './folder';
import { type Entry, tar } from './tar';

/** Above this, the checksum is left to TLS and to gzip's own: it would need the whole artifact in memory at once. */
const HASHED = 64 * 1024 * 1024;

export interface Artifact {
  blob: Blob;
  sha256?: string;
}

/** Browsers do not tell modes. What begins as programs do is made executable. */
export function program(first: Uint8Array): boolean {
  const starts = (...bytes: number[]) => bytes.every((byte, at) => first[at] === byte);
  return starts(0x23, 0x21) || starts(0x7f, 0x45, 0x4c, 0x46);
}

async function entry({ path, file }: Found): Promise<Entry> {
  const first = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  const chunks = async function* () {
    // Not `for await` over the stream, which not all browsers can.
    const reader = file.stream().getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  };
  return { path, size: file.size, executable: program(first), chunks };
}

export async function pack(files: Found[], packed: (bytes: number) => void): Promise<Artifact> {
  const entries: Entry[] = [];
  for (const file of files) entries.push(await entry(file));
  const chunks = tar(entries);
  let done = 0;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const next = await chunks.next();
      if (next.done) return controller.close();
      packed((done += next.value.length));
      controller.enqueue(next.value);
    },
  });
  const blob = await new Response(stream.pipeThrough(new CompressionStream('gzip'))).blob();
  // Pages without TLS have no `crypto.subtle`, except on this machine.
  if (blob.size > HASHED || !crypto.subtle) return { blob };
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()));
  return { blob, sha256: [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('') };
}
