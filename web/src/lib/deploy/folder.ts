// A folder as a browser gives it, by choosing or by dropping, and what of it is sent.
import { ignoring } from './ignore';

export const MANIFEST = 'agent-manifest.json';
const MOST = 20_000;

export interface Found {
  path: string;
  file: File;
}

export interface Folder {
  /** What the agent may be called: the manifest's name, else the folder's. */
  name: string;
  files: Found[];
  bytes: number;
  /** What stays at home, by its topmost part. */
  left: { path: string; files: number }[];
}

/** Files of `<input webkitdirectory>`, whose paths begin with the folder. */
export function chosen(list: FileList): { name: string; found: Found[] } {
  const files = [...list];
  const name = files[0]?.webkitRelativePath.split('/')[0] ?? '';
  return {
    name,
    found: files.map((file) => ({ path: file.webkitRelativePath.slice(name.length + 1), file })),
  };
}

const whole = <T>(ask: (done: (value: T) => void, failed: (why: DOMException) => void) => void) =>
  new Promise<T>(ask);

/**
 * The one folder that was dropped. Called while the event is told, since its data is gone afterwards. Folders that are
 * left out anyway are not walked through.
 */
export async function dropped(data: DataTransfer): Promise<{ name: string; found: Found[] }> {
  const roots = [...data.items].map((item) => item.webkitGetAsEntry()).filter((one) => one !== null);
  const [root] = roots;
  if (roots.length !== 1 || !root?.isDirectory) throw new Error('Drop one folder, not files.');
  const found: Found[] = [];
  const walk = async (folder: FileSystemDirectoryEntry, prefix: string) => {
    const reader = folder.createReader();
    for (;;) {
      // A reader gives some of its entries at a time, and nothing at the end.
      const some = await whole<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
      if (some.length === 0) return;
      for (const entry of some) {
        const path = prefix + entry.name;
        if (entry.isDirectory) {
          if (ignoring('')(path) !== undefined) found.push({ path: `${path}/`, file: new File([], '') });
          else await walk(entry as FileSystemDirectoryEntry, `${path}/`);
        } else {
          const file = await whole<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed));
          found.push({ path, file });
        }
        if (found.length > MOST) throw new Error(`The folder has more than ${MOST} files.`);
      }
    }
  };
  await walk(root as FileSystemDirectoryEntry, '');
  return { name: root.name, found };
}

/** Letters, digits and single dashes, as names are; nothing when nothing is left. */
export const named = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replace(/^-|-$/g, '');

/** Sorts out what is sent. Refuses a folder that cannot be deployed, before anything is sent. */
export async function look({ name, found }: { name: string; found: Found[] }): Promise<Folder> {
  const manifest = found.find((one) => one.path === MANIFEST);
  if (!manifest) {
    throw new Error(`The folder has no ${MANIFEST} at its top. “ryokan init” writes one.`);
  }
  const ignore = found.find((one) => one.path === '.dockerignore');
  const out = ignoring(ignore ? await ignore.file.text() : '');
  const files: Found[] = [];
  const left = new Map<string, number>();
  for (const one of found) {
    // Whatever is ignored, nothing is deployed without its manifest.
    const top = one.path === MANIFEST ? undefined : out(one.path);
    if (top === undefined) files.push(one);
    else left.set(top, (left.get(top) ?? 0) + (one.path.endsWith('/') ? 0 : 1));
  }
  if (files.length > MOST) throw new Error(`The folder has more than ${MOST} files.`);
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  return {
    name: (await manifestName(manifest.file)) ?? named(name),
    files,
    bytes: files.reduce((sum, one) => sum + one.file.size, 0),
    left: [...left].map(([path, files]) => ({ path, files })).sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

async function manifestName(file: File): Promise<string | undefined> {
  let manifest: unknown;
  try {
    manifest = JSON.parse(await file.text());
  } catch (error) {
    throw new Error(`${MANIFEST} is not JSON: ${(error as Error).message}`);
  }
  const name = (manifest as { name?: unknown } | null)?.name;
  return typeof name === 'string' ? name : undefined;
}
