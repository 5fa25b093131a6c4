// Who is signed in. The session itself is in a cookie that scripts cannot read.
import { call } from '$lib/api/client';
import type { Session, User } from '$lib/api/types';

class Current {
  user = $state<User>();

  get operator() {
    return this.user?.operator ?? false;
  }

  async load() {
    this.user = await call<User>('/v1/sessions/current');
  }

  async signIn(request: { link: string } | { login: string; password: string }) {
    this.user = (await call<Session>('/v1/sessions', { body: request })).user;
  }

  async signOut() {
    await call('/v1/sessions', { method: 'DELETE' });
    this.user = undefined;
  }
}

export const session = new Current();
