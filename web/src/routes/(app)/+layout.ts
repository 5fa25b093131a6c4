// Everything but the sign-in page needs a session.
import { redirect } from '@sveltejs/kit';
import { Refused } from '$lib/api/client';
import { session } from '$lib/sessions/session.svelte';

export async function load({ url }) {
  if (session.user) return;
  try {
    await session.load();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      redirect(303, `/login?return=${encodeURIComponent(url.pathname + url.search)}`);
    }
    throw error;
  }
}
