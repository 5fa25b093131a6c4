// One creation, from the request to `ready`, followed over its progress stream. A broken connection is taken up again
// with the same request and the same key, which the server answers with the same instance.
import { Refused, words } from '$lib/api/client';
import { randomKey } from '$lib/api/key';
import { read } from '$lib/api/stream';
import type { InstanceRequest, Problem, Progress, State } from '$lib/api/types';

const TRIES = 6;

/** The server's word for a step is the state's name when it has nothing more to say. */
const STEPS: Partial<Record<State, string>> = {
  pending: 'Waiting for its turn',
  building: 'Fetching the image',
  starting: 'Starting',
};

export interface Step {
  text: string;
  at: number;
}

export class Creation {
  busy = $state(false);
  accepted = $state(false);
  name = $state<string>();
  steps = $state<Step[]>([]);
  pull = $state<{ done: number; total: number }>();
  url = $state<string>();
  failed = $state<string>();
  refused = $state<Problem>();

  #key = '';
  #body = '';
  #abort = new AbortController();

  leave() {
    this.#abort.abort();
  }

  async begin(request: InstanceRequest) {
    const body = JSON.stringify(request);
    // Another request is another wish, and needs a key of its own.
    if (body !== this.#body) {
      this.#body = body;
      this.#key = randomKey();
    }
    this.busy = true;
    this.refused = undefined;
    try {
      await this.#follow(request);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      if (this.accepted) this.failed = words(error);
      else if (error instanceof Refused) this.refused = error.problem;
      else this.refused = { type: 'about:blank', title: '', status: 0, code: '', detail: words(error) };
    } finally {
      this.busy = false;
    }
  }

  async #follow(request: InstanceRequest) {
    for (let attempt = 1; ; attempt++) {
      try {
        const headers = { 'idempotency-key': this.#key };
        await read('/v1/instances', { body: request, headers, signal: this.#abort.signal }, (message) =>
          this.#tell(message.event, JSON.parse(message.data) as Progress),
        );
        if (this.url !== undefined || this.failed !== undefined) return;
        throw new TypeError('the stream ended before its last event');
      } catch (error) {
        const again = error instanceof TypeError && !this.#abort.signal.aborted && attempt < TRIES;
        if (!again || !this.accepted) throw error;
        this.#step('The connection broke; trying again');
        await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
      }
    }
  }

  #tell(event: string, progress: Progress) {
    this.accepted = true;
    this.name = progress.name;
    const { done, total } = progress;
    this.pull = event === 'pending' && total ? { done: done ?? 0, total } : undefined;
    if (event === 'ready') {
      this.#step('Ready');
      this.url = progress.url ?? '';
    } else if (event === 'error') {
      this.failed = progress.message ?? 'It failed, and nobody said why.';
    } else {
      this.#step(event === 'created' ? 'Accepted' : (progress.message ?? progress.state ?? event));
    }
  }

  #step(told: string) {
    const text = told in STEPS ? STEPS[told as State]! : told.charAt(0).toUpperCase() + told.slice(1);
    const last = this.steps.at(-1);
    if (last?.text !== text) this.steps.push({ text, at: Date.now() });
  }
}
