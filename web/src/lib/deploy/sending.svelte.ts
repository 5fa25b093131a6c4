// One folder on its way to the server: looked through, packed, promised, sent. What follows is the deployment's own page.
import { call, words } from '$lib/api/client';
import type { Deployment } from '$lib/api/types';
import { upload } from '$lib/files/upload';
import type { Folder, Found } from './folder';
import { look } from './folder';
import { pack } from './pack';

export class Sending {
  folder = $state.raw<Folder>();
  /** What is being done, and how far it is. */
  step = $state<'reading' | 'packing' | 'sending'>();
  share = $state(0);
  problem = $state<string>();

  #abort = new AbortController();

  /** Looks a folder through; nothing is sent yet. */
  async take(finding: Promise<{ name: string; found: Found[] }>) {
    this.folder = undefined;
    this.problem = undefined;
    this.step = 'reading';
    try {
      this.folder = await look(await finding);
    } catch (error) {
      this.problem = words(error);
    } finally {
      this.step = undefined;
    }
  }

  forget() {
    this.folder = undefined;
    this.problem = undefined;
  }

  stop() {
    this.#abort.abort();
  }

  /** Sends it; the deployment, once the artifact is there. A refusal is thrown. */
  async send(project: string, name: string): Promise<Deployment | undefined> {
    const folder = this.folder;
    if (!folder || this.step) return undefined;
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    let made: Deployment | undefined;
    try {
      this.#at('packing');
      const { blob, sha256 } = await pack(folder.files, (bytes) => {
        this.share = folder.bytes ? Math.min(1, bytes / folder.bytes) : 0;
        signal.throwIfAborted();
      });
      signal.throwIfAborted();
      made = await call<Deployment>(`${project}/deployments`, {
        body: { name: name || undefined, size: blob.size, sha256 },
        signal,
      });
      this.#at('sending');
      // The address names the host that the server knows itself by; this page may know it by another.
      const { pathname } = new URL(made.upload?.url ?? '', location.origin);
      await upload(pathname, blob, (share) => (this.share = share), { method: 'POST', signal });
      return made;
    } catch (error) {
      // What was promised and will not come is not waited for.
      if (made) void call(`/v1/deployments/${made.id}/cancel`, { method: 'POST' }).catch(() => {});
      if (signal.aborted) return undefined;
      throw error;
    } finally {
      this.step = undefined;
    }
  }

  #at(step: 'packing' | 'sending') {
    this.step = step;
    this.share = 0;
  }
}
