import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vitest/config';
import { licences } from './licences.js';

// `npm run dev` serves the sources and passes the API on to a running server.
const server = process.env.RYOKAN_URL ?? 'http://localhost:7700';

export default defineConfig({
  plugins: [sveltekit(), licences()],
  build: { target: 'es2022' },
  // The server counts a session's cookie only for its own origin, and takes `Host` and `Origin` as the browser sent them.
  server: { proxy: { '/v1': { target: server, ws: true }, '/api/v1': { target: server } } },
  test: { include: ['src/**/*.test.ts'] },
});
