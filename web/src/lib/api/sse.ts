// Server-sent events out of a stream of text, as the standard parses them. Only the parsing: no connection, no retry.

export interface Message {
  event: string;
  data: string;
  /** The last id that was sent, which a reader gives back to go on where it was. */
  id: string;
}

/** Feed it text as it comes; it returns the messages that have become whole. */
export class Parser {
  #rest = '';
  #event = '';
  #data: string[] = [];
  #id = '';

  feed(text: string): Message[] {
    const messages: Message[] = [];
    this.#rest += text;
    for (;;) {
      const end = this.#rest.search(/\r\n|\n|\r/);
      // A carriage return at the very end may be half of a line's end.
      if (end < 0 || (this.#rest[end] === '\r' && end === this.#rest.length - 1)) return messages;
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + (this.#rest.startsWith('\r\n', end) ? 2 : 1));
      const message = this.#line(line);
      if (message) messages.push(message);
    }
  }

  #line(line: string): Message | undefined {
    if (line === '') {
      const message =
        this.#data.length > 0
          ? { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id }
          : undefined;
      this.#event = '';
      this.#data = [];
      return message;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#event = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    return undefined;
  }
}
