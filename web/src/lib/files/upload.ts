// An upload that says how far it is, which `fetch` cannot.
import { refusal } from '$lib/api/client';

export interface Way {
  method?: 'PUT' | 'POST';
  signal?: AbortSignal;
}

export function upload(
  path: string,
  file: Blob,
  progress: (share: number) => void,
  { method = 'PUT', signal }: Way = {},
): Promise<void> {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    if (method === 'POST') request.setRequestHeader('content-type', 'application/octet-stream');
    signal?.addEventListener('abort', () => request.abort());
    request.onabort = () => failed(new DOMException('stopped', 'AbortError'));
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) return done();
      const init = { status: request.status, statusText: request.statusText };
      void refusal(new Response(request.responseText, init)).then(failed);
    };
    request.onerror = () => failed(new TypeError('no answer'));
    request.send(file);
  });
}
