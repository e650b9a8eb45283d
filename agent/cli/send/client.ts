/**
 * The sending side of MLLP for `send`: one connection, one message in flight, its answer known by MSA-2, a time limit.
 * node-hl7-client has a `Connection`, but it takes any frame for the answer, waits for ever, and loses what is sent
 * after the peer has closed.
 */
import { connect as tcpConnect, type Socket } from 'node:net';
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls';
import { formatHostPort, type HostPort } from '../../base/options.ts';
import { ConnectorError, reasonOf } from '../../model/errors.ts';
import type { Clock } from '../../model/ports.ts';
import { decode, detectCharset } from '../../base/hl7/charset.ts';
import { CR } from '../../base/hl7/bytes.ts';
import { FS, MllpFramer, VT } from '../../source/hl7v2/framer.ts';
import { field, readHeader } from '../../base/hl7/header.ts';

/** How long a receiver may take to store a message; long enough for a disk under load, short for a person waiting. */
export const answerMsMax = 30_000;

/** An acknowledgement is a few hundred bytes. */
const answerBytesMax = 1024 * 1024;

/** One answer: MSA-1, MSA-2, MSA-3 (HL7 v2.5.1 section 2.14.8). */
export interface Answer {
  readonly code: string;
  readonly controlId: string;
  readonly text: string;
}

export interface ClientOptions {
  readonly to: HostPort;
  readonly clock: Clock;
  readonly tls?: ConnectionOptions | undefined;
  readonly timeoutMs?: number;
}

interface Waiter {
  readonly controlId: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: ConnectorError) => void;
}

export class MllpClient {
  readonly #socket: Socket;
  readonly #to: string;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #waiter: Waiter | undefined;
  #broken: ConnectorError | undefined;

  private constructor(socket: Socket, to: string, { clock, timeoutMs }: Deadline) {
    this.#socket = socket;
    this.#to = to;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    const framer = new MllpFramer(
      { frameBytesMax: answerBytesMax, now: () => clock.monotonic() },
      {
        frame: (content) => this.#take(content),
        problem: () => undefined,
        fault: () => this.#break('it does not speak MLLP'),
      },
    );
    socket.on('data', (chunk: Buffer) => framer.push(chunk));
    socket.on('error', (error) => this.#break(reasonOf(error)));
    socket.on('close', () => this.#break('it closed the connection'));
  }

  /** @throws ConnectorError SEND_FAILED */
  static async connect({ to, tls, clock, timeoutMs = answerMsMax }: ClientOptions): Promise<MllpClient> {
    const name = formatHostPort(to);
    const socket = tls ? tlsConnect({ ...to, servername: to.host, ...tls }) : tcpConnect(to);
    socket.setNoDelay(true);
    await opened(socket, tls ? 'secureConnect' : 'connect', name, { clock, timeoutMs });
    return new MllpClient(socket, name, { clock, timeoutMs });
  }

  /**
   * Sends one message and waits for its answer; answers to anything else are passed over.
   *
   * @throws ConnectorError SEND_FAILED - no answer in time, or the connection is gone; the message may have arrived.
   */
  async send(message: Uint8Array, controlId: string): Promise<Answer> {
    if (this.#broken) throw this.#broken;
    const answered = new AbortController();
    after(this.#clock, this.#timeoutMs, answered.signal, () => this.#break(`no answer in ${this.#timeoutMs / 1000} s`));
    try {
      return await new Promise<Answer>((resolve, reject) => {
        this.#waiter = { controlId, resolve, reject };
        this.#socket.write(Buffer.concat([Buffer.of(VT), message, Buffer.of(FS, CR)]));
      });
    } finally {
      answered.abort();
      this.#waiter = undefined;
    }
  }

  /** Harmless twice. */
  close(): void {
    this.#socket.destroy();
  }

  #take(content: Buffer): void {
    const answer = readAnswer(content);
    if (answer && answer.controlId === this.#waiter?.controlId) this.#waiter.resolve(answer);
  }

  #break(reason: string): void {
    this.#broken ??= new ConnectorError('SEND_FAILED', { to: this.#to, reason });
    this.#waiter?.reject(this.#broken);
    this.#socket.destroy();
  }
}

interface Deadline {
  readonly clock: Clock;
  readonly timeoutMs: number;
}

function opened(socket: Socket, event: string, to: string, { clock, timeoutMs }: Deadline): Promise<void> {
  return new Promise((resolve, reject) => {
    const settled = new AbortController();
    const fail = (reason: string) => {
      settled.abort();
      socket.destroy();
      reject(new ConnectorError('SEND_FAILED', { to, reason }));
    };
    const onError = (error: unknown) => fail(reasonOf(error));
    after(clock, timeoutMs, settled.signal, () => fail(`no connection in ${timeoutMs / 1000} s`));
    socket.once('error', onError);
    socket.once(event, () => {
      settled.abort();
      socket.off('error', onError);
      resolve();
    });
  });
}

/** Calls `late` when the time is over before `signal` aborts. */
function after(clock: Clock, durationMs: number, signal: AbortSignal, late: () => void): void {
  const wait = async () => {
    await clock.sleep(durationMs, signal);
    if (!signal.aborted) late();
  };
  void wait();
}

/** The MSA segment of an acknowledgement; undefined for anything else. */
export function readAnswer(content: Buffer): Answer | undefined {
  const header = readHeader(content);
  if (!header) return undefined;
  const text = decode(content, detectCharset(content, field(header, 18)));
  const segment = text.split(/[\r\n]+/).find((line) => line.startsWith(`MSA${header.separator}`));
  const [, code, controlId, detail] = segment?.split(header.separator) ?? [];
  return code ? { code, controlId: controlId ?? '', text: detail ?? '' } : undefined;
}
