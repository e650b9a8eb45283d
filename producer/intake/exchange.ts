/** One request and its answer, between the server that owns the socket and the handlers that know the protocol. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../agent/model/ports.ts';
import { type RefusalCode, refusal, refusalTable } from './refusals.ts';

export interface Exchange {
  /** Facility code: the CN of the client certificate. */
  readonly agent: string;
  /** From the path, where it has one. */
  readonly parcelId: string;
  readonly url: URL;
  readonly request: IncomingMessage;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** A text goes out as it is, with its own Content-Type in `headers`; an object as JSON. */
  readonly body?: string | object;
}

/** How long a refused request may go on sending before its connection is cut: long enough for the answer to arrive. */
const drainMs = 5000;

/** A header that must be there once. @throws ConnectorError INTAKE_REFUSED */
export function requiredHeader({ request }: Exchange, name: string, orRefuse: RefusalCode = 'BAD_REQUEST'): string {
  const value = request.headers[name];
  if (typeof value !== 'string' || value === '') throw refusal(orRefuse);
  return value;
}

/** A header that is a count of bytes. @throws ConnectorError INTAKE_REFUSED */
export function byteHeader(exchange: Exchange, name: string): number {
  const text = requiredHeader(exchange, name);
  const bytes = Number(text);
  if (!/^\d{1,15}$/.test(text)) throw refusal('BAD_REQUEST');
  return bytes;
}

/** @throws ConnectorError INTAKE_REFUSED */
export function requireMediaType({ request }: Exchange, expected: string): void {
  const [found] = (request.headers['content-type'] ?? '').split(';');
  if (found?.trim().toLowerCase() !== expected) throw refusal('MEDIA_TYPE');
}

/** A small body, whole. @throws ConnectorError INTAKE_REFUSED */
export async function readBody({ request }: Exchange, bytesMax: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) throw refusal('TOO_LARGE');
  const chunks: Buffer[] = [];
  let bytes = 0;
  const body = request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (;;) {
    // Not `for await`: leaving it early destroys the socket, and with it the way for the answer.
    const next = await body.next().catch((cause: unknown) => {
      throw refusal('BODY_TIMEOUT', cause);
    });
    if (next.done === true) return Buffer.concat(chunks);
    bytes += next.value.length;
    if (bytes > bytesMax) throw refusal('TOO_LARGE');
    chunks.push(next.value);
  }
}

export function refusedAnswer(code: RefusalCode, headers: Answer['headers'] = {}): Answer {
  const { status, message } = refusalTable[code];
  return { status, headers, body: { code, message } };
}

/** Sends the answer and sees the connection into a state where it can be used again, or is closed. */
export async function send(
  { request, response, clock }: { request: IncomingMessage; response: ServerResponse; clock: Clock },
  answer: Answer,
): Promise<void> {
  if (response.headersSent || response.socket?.destroyed !== false) return;
  const { status, headers = {}, body } = answer;
  const text = typeof body === 'object' ? `${JSON.stringify(body)}\n` : body;
  const type = typeof body === 'object' ? { 'Content-Type': 'application/json' } : {};
  const length = text === undefined ? {} : { 'Content-Length': Buffer.byteLength(text) };
  response.writeHead(status, { ...type, ...length, ...headers });
  response.end(text);
  if (!request.complete) await drain(request, clock);
}

/**
 * A client that is refused may still be sending a 64 MiB part. Closing at once resets the connection, and the answer is
 * lost with it; reading on for ever would be a gift. So: a few seconds, then the end.
 */
async function drain(request: IncomingMessage, clock: Clock): Promise<void> {
  const ended = new AbortController();
  request.once('close', () => ended.abort());
  // Not `resume()`: it does nothing once an iterator has listened for 'readable'.
  const discard = () => {
    while (request.read() !== null);
  };
  request.on('readable', discard);
  discard();
  await clock.sleep(drainMs, ended.signal);
  if (!request.complete) request.destroy();
}
