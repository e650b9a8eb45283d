/** What is written on the control socket: one line of JSON a frame, either way. */
import type { Socket } from 'node:net';
import type { ErrorDetails } from '../../model/errors.ts';

/** One frame either way: a status of a hundred sources is 50 kB. */
export const frameCharsMax = 1024 * 1024;

export type ControlArgs = Readonly<Record<string, unknown>>;

export interface Reply {
  readonly id: number;
  readonly progress?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly code: string; readonly details: ErrorDetails };
}

/** What is not understood, or does not fit. */
export function refusal(id: number, reason: string): Reply {
  return { id, error: { code: 'CONTROL_REFUSED', details: { reason } } };
}

/** Undefined for what is not JSON. */
export function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** A client that has gone, or that reads nothing of what it asked for, is let go; the work itself is its handler's. */
export function send(socket: Socket, reply: Reply): void {
  if (!socket.writable) return;
  const line = JSON.stringify(reply);
  const isFit = line.length <= frameCharsMax;
  socket.write(`${isFit ? line : JSON.stringify(refusal(reply.id, 'its answer is longer than a frame'))}\n`);
  if (socket.writableLength > 2 * frameCharsMax) socket.destroy();
}

/** Frames as they come; one that is too long ends the reading. */
export function readLines(socket: Socket, onLine: (line: string) => void, options: { onTooLong: () => void }): void {
  let pending = '';
  let isOver = false;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    if (isOver) return;
    const lines = (pending + chunk).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) onLine(line);
    if (pending.length > frameCharsMax) {
      isOver = true;
      pending = '';
      options.onTooLong();
    }
  });
}
