/**
 * What happens to a frame between its arrival and its answer: split, checked, offered to the intake, acknowledged.
 * Knows nothing of sockets.
 *
 * **Batches.** A sender of several messages in one frame gets one acknowledgement a message, each in a block of its
 * own, in order: that is what senders that match MSA-2 need, and what the others count. For each BHS with a control
 * id (BHS-11) one more follows, whose MSA-2 is that id and whose code is the worst of its messages. All of a frame
 * is one offer, so all of it is stored or nothing.
 */
import type { FactsOptions } from '../../base/hl7/facts.ts';
import { component, field, type Header, readHeader } from '../../base/hl7/header.ts';
import { ConnectorError, type ErrorCode, isError } from '../../model/errors.ts';
import type { SourceHost } from '../../model/ports.ts';
import type { RecordFacts } from '../../model/record.ts';
import { Acknowledger, type Result } from './acknowledge.ts';
import { nativeKeyOf, readFacts } from './facts.ts';
import { type Piece, splitFrame } from './split.ts';

export interface ReceiverOptions extends FactsOptions {
  /** `gap`: when the buffer is full, acknowledge after a durable note that this message is missing. */
  readonly whenFull: 'refuse' | 'gap';
}

/** One piece of a frame and what is decided about it. */
interface Part {
  readonly piece: Piece;
  /** Of a message that can be answered in its own terms. */
  readonly header: Header | undefined;
  /** Undefined for what the intake shall judge. */
  readonly verdict: Verdict | undefined;
}

interface Inbound {
  readonly piece: Piece;
  readonly header: Header;
}

/** Why a message is turned down before the intake sees it. */
interface Refusal {
  readonly code: ErrorCode;
  /** MSA-3, in words a person at the sender's side reads. ASCII, and nothing from the message. */
  readonly text: string;
  readonly word: string;
}

export const refusals = {
  notHl7: { code: 'HL7_NOT_A_MESSAGE', text: 'not an HL7 v2 message', word: 'not-hl7' },
  noControlId: { code: 'HL7_NOT_A_MESSAGE', text: 'MSH-10 is empty', word: 'no-control-id' },
  tooLarge: { code: 'RECORD_TOO_LARGE', text: 'message too large', word: 'too-large' },
} as const satisfies Readonly<Record<string, Refusal>>;

const busyText = 'storage unavailable';

interface Verdict {
  readonly result: Result;
  readonly text?: string;
  /** Our peer's own acknowledgement, which must not be acknowledged in turn. */
  readonly isSilent?: boolean;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #host: SourceHost;
  readonly #acknowledger: Acknowledger;

  constructor(options: ReceiverOptions, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    this.#acknowledger = new Acknowledger(host.clock);
  }

  /**
   * Takes a frame and resolves with its answer, once what it acknowledges is on disk. The offer is made before this
   * returns, so frames that arrive together share a commit.
   */
  async receive(frame: Buffer): Promise<string> {
    const split = splitFrame(frame);
    if (!split) return this.refuse(frame, refusals.notHl7);
    const parts = split.pieces.map((piece) => this.#inspect(piece));
    const inbound = parts.flatMap(({ piece, header, verdict }) => (header && !verdict ? [{ piece, header }] : []));
    const offered: Verdict = inbound.length > 0 ? await this.#offer(inbound) : { result: 'stored' };
    return this.#answer(split.batchHeaders, parts, offered);
  }

  /** The answer to something that will never be stored; what can be read of its header is echoed. */
  refuse(head: Buffer, refusal: Refusal): string {
    this.#rejected(refusal, head.length);
    return this.#acknowledger.answer(this.#header(head), 'malformed', refusal.text);
  }

  #header(bytes: Buffer): Header | undefined {
    const { encoding } = this.#options;
    return readHeader(bytes, encoding === 'auto' ? undefined : encoding);
  }

  #inspect(piece: Piece): Part {
    const { kind, bytes } = piece;
    if (kind === 'envelope') return { piece, header: undefined, verdict: undefined };
    const header = this.#header(bytes);
    if (!header) return { piece, header, verdict: this.#turnedDown(refusals.notHl7, bytes.length) };
    if (component(header, 9) === 'ACK') return { piece, header, verdict: { result: 'stored', isSilent: true } };
    if (field(header, 10).trim() !== '') return { piece, header, verdict: undefined };
    return { piece, header, verdict: this.#turnedDown(refusals.noControlId, bytes.length) };
  }

  #turnedDown(refusal: Refusal, byteCount: number): Verdict {
    this.#rejected(refusal, byteCount);
    return { result: 'malformed', text: refusal.text };
  }

  async #offer(inbound: readonly Inbound[]): Promise<Verdict> {
    const records = inbound.map(({ piece, header }) => ({
      payload: { body: piece.bytes },
      describe: () => this.#describe(piece, header),
    }));
    try {
      await this.#host.intake.accept({ records });
      return { result: 'stored' };
    } catch (error) {
      if (this.#options.whenFull === 'gap' && isError(error, 'BUFFER_FULL')) return this.#noteGap(inbound);
      return notStored(error);
    }
  }

  #describe(piece: Piece, header: Header): RecordFacts {
    const facts = readFacts(piece.bytes, header, this.#options, ({ characters, isJisX0212 }) =>
      this.#host.report({
        name: 'record.undecodable',
        source: this.#host.name,
        numbers: { characters },
        word: isJisX0212 ? 'jis-x-0212' : 'other',
      }),
    );
    return piece.isMiscounted ? { ...facts, quarantine: facts.quarantine ?? 'COUNT_MISMATCH' } : facts;
  }

  async #noteGap(inbound: readonly Inbound[]): Promise<Verdict> {
    const gaps = inbound.map(({ header }) => ({ code: 'FULL' as const, reference: nativeKeyOf(header) }));
    try {
      await this.#host.intake.accept({ records: [], gaps });
      return { result: 'stored' };
    } catch (error) {
      return notStored(error);
    }
  }

  #answer(batchHeaders: ReadonlyMap<number, Header>, parts: readonly Part[], offered: Verdict): string {
    const messages = parts.filter(({ piece }) => piece.kind === 'message');
    const answers = messages.map(({ header, verdict = offered }) =>
      verdict.isSilent ? '' : this.#acknowledger.answer(header, verdict.result, verdict.text),
    );
    // Senders who ask for no answer to their messages are not sent one for the batch either.
    const isWanted = messages.length === 0 || answers.some((answer) => answer !== '');
    for (const [batch, header] of isWanted ? batchHeaders : []) {
      if (field(header, 11) === '') continue;
      const inBatch = messages.filter(({ piece }) => piece.batch === batch);
      answers.push(
        this.#acknowledger.answerBatch(header, worst(inBatch.map(({ verdict = offered }) => verdict.result))),
      );
    }
    return answers.join('');
  }

  #rejected({ code, word }: Refusal, byteCount: number): void {
    this.#host.report({ name: 'record.rejected', source: this.#host.name, code, word, numbers: { bytes: byteCount } });
  }
}

/** The worst result decides for a batch: a sender who repeats it finds what was stored to be duplicates. */
function worst(results: readonly Result[]): Result {
  if (results.includes('busy')) return 'busy';
  return results.includes('malformed') ? 'malformed' : 'stored';
}

/** The error's class decides: what will pass is `busy`, what never will is `malformed`. A bug is neither. */
function notStored(error: unknown): Verdict {
  if (!(error instanceof ConnectorError)) throw error;
  if (error.class === 'permanent') return { result: 'malformed', text: 'message not accepted' };
  return { result: 'busy', text: busyText };
}
