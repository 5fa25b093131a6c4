// A terminal on a command inside an agent, over the WebSocket that `docs/api.md` describes.
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';

export interface Ended {
  /** The command's, when it came to its end. */
  code?: number;
  message?: string;
}

export interface Session {
  close: () => void;
  fit: () => void;
}

const THEME = {
  background: '#1b1a17',
  foreground: '#e9e4d8',
  cursor: '#e9e4d8',
  selectionBackground: '#4a5a75',
};

/** Opens a terminal in `box`. `ended` is told once. */
export function open(
  box: HTMLElement,
  path: string,
  command: string[],
  ended: (how: Ended) => void,
): Session {
  const font = getComputedStyle(document.documentElement).getPropertyValue('--mono');
  const terminal = new Terminal({
    fontFamily: font,
    fontSize: 13,
    cursorBlink: true,
    scrollback: 5000,
    theme: THEME,
    screenReaderMode: false,
  });
  const addon = new FitAddon();
  terminal.loadAddon(addon);
  terminal.open(box);
  addon.fit();

  const query = new URLSearchParams(command.map((word) => ['command', word]));
  query.set('tty', 'true');
  query.set('stdin', 'true');
  query.set('columns', String(terminal.cols));
  query.set('rows', String(terminal.rows));
  const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}${path}/exec?${query}`);
  socket.binaryType = 'arraybuffer';

  let over = false;
  let opened = false;
  const end = (how: Ended) => {
    if (over) return;
    over = true;
    terminal.options.disableStdin = true;
    terminal.options.cursorBlink = false;
    ended(how);
  };
  const send = (data: string | Uint8Array<ArrayBuffer>) =>
    socket.readyState === WebSocket.OPEN && socket.send(data);

  socket.onopen = () => {
    opened = true;
    terminal.focus();
  };
  socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
    // The first byte says which output it is; with a terminal it is all one.
    if (typeof data !== 'string') return terminal.write(new Uint8Array(data).subarray(1));
    const status = JSON.parse(data) as { exit?: { code: number }; error?: { message: string } };
    if (status.exit) end({ code: status.exit.code });
    else if (status.error) end({ message: status.error.message });
  };
  socket.onclose = () =>
    end({
      message: opened
        ? 'The connection broke.'
        : 'It did not open. The agent does not run, or has no such command.',
    });

  const encoder = new TextEncoder();
  terminal.onData((text) => send(encoder.encode(text)));
  terminal.onBinary((text) => send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  terminal.onResize(({ cols, rows }) => send(JSON.stringify({ resize: { columns: cols, rows } })));
  const observer = new ResizeObserver(() => addon.fit());
  observer.observe(box);

  return {
    fit: () => addon.fit(),
    close: () => {
      over = true;
      observer.disconnect();
      socket.close();
      terminal.dispose();
    },
  };
}
