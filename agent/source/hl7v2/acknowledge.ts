/**
 * Acknowledgements, made from the header's own bytes: a fixed template costs a microsecond, and echoes what a parser
 * would change (`2.5^JPN`, other delimiters, MSH-18).
 */
import { randomBytes } from 'node:crypto';
import { isoJst } from '../../base/clock.ts';
import type { Clock } from '../../model/ports.ts';
import { component, field, type Header } from '../../base/hl7/header.ts';

/**
 * - `stored`: on disk, whatever the gate said of it.
 * - `busy`: not stored; the sender shall repeat it.
 * - `malformed`: no repeat of it will ever be stored.
 */
export type Result = 'stored' | 'busy' | 'malformed';

/** MSA-1, HL7 table 0008; enhanced mode (commit) and original mode (application), v2.5.1 sections 2.9.3 and 2.9.2. */
const commitCode = { stored: 'CA', busy: 'CE', malformed: 'CR' } as const;
const applicationCode = { stored: 'AA', busy: 'AE', malformed: 'AR' } as const;

/** MSH-15 and MSH-16, HL7 table 0155: always, never, on error or reject only, on success only. */
const conditions: Readonly<Record<string, { readonly good: boolean; readonly bad: boolean }>> = {
  AL: { good: true, bad: true },
  NE: { good: false, bad: false },
  ER: { good: false, bad: true },
  SU: { good: true, bad: false },
  // In enhanced mode an empty field means never (2.14.9.15).
  '': { good: false, bad: false },
};

/**
 * The codes to answer with, in order.
 *
 * | MSH-15 and -16 | stored | not stored |
 * | --- | --- | --- |
 * | both empty: original mode | AA | AE, AR |
 * | otherwise, MSH-15 asks | CA | CE, CR |
 * | and MSH-16 asks | AA, after the CA if any | AE, AR, unless the commit answer has said it |
 *
 * A condition that is in no table is answered: a sender left waiting stops its whole queue.
 */
export function codesFor(header: Header | undefined, result: Result): readonly string[] {
  const [accept, application] = header ? [field(header, 15).trim(), field(header, 16).trim()] : ['', ''];
  if (accept === '' && application === '') return [applicationCode[result]];
  const wants = (condition: string) => {
    const { good, bad } = conditions[condition] ?? { good: true, bad: true };
    return result === 'stored' ? good : bad;
  };
  const codes: string[] = wants(accept) ? [commitCode[result]] : [];
  if (wants(application) && (result === 'stored' || codes.length === 0)) codes.push(applicationCode[result]);
  return codes;
}

/** What a peer that sent no readable header is answered in. */
const plainHeader: Header = {
  separator: '|',
  component: '^',
  repetition: '~',
  escape: '\\',
  subcomponent: '&',
  fields: ['|', '^~\\&'],
};

/** Makes acknowledgements whose MSH-10 is never used twice, not even after a restart. At most 20 characters, as in 2.5. */
export class Acknowledger {
  readonly #clock: Clock;
  readonly #prefix = randomBytes(5).toString('hex');
  #count = 0;
  #second = 0;
  #timestamp = '';

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The MLLP blocks that answer a message, as Latin-1 text; '' where its sender wants none. */
  answer(header: Header | undefined, result: Result, text = ''): string {
    return codesFor(header, result)
      .map((code) => this.#block(header ?? plainHeader, code, field(header ?? plainHeader, 10), text))
      .join('');
  }

  /** Answers a batch as a whole: MSA-2 is its BHS-11. Original mode, for a batch header has no MSH-15. */
  answerBatch(batchHeader: Header, result: Result): string {
    return this.#block(
      { ...batchHeader, fields: batchHeader.fields.slice(0, 7) },
      applicationCode[result],
      field(batchHeader, 11),
      '',
    );
  }

  #block(header: Header, code: string, controlId: string, text: string): string {
    const { separator: bar, component: hat } = header;
    const trigger = component(header, 9, 2);
    const type = trigger === '' ? 'ACK' : `ACK${hat}${trigger}${hat}ACK`;
    const from = `${field(header, 5)}${bar}${field(header, 6)}`;
    const to = `${field(header, 3)}${bar}${field(header, 4)}`;
    const processing = field(header, 11) || 'P';
    const version = field(header, 12) || '2.5';
    const charset = field(header, 18);
    const tail = charset === '' ? '' : `${bar.repeat(6)}${charset}`;
    const msh = `MSH${bar}${field(header, 2)}${bar}${from}${bar}${to}${bar}${this.#now()}${bar}${bar}${type}${bar}${this.#id()}${bar}${processing}${bar}${version}${tail}`;
    const msa = `MSA${bar}${code}${bar}${controlId}${text === '' ? '' : bar + text}`;
    return `\x0b${msh}\r${msa}\r\x1c\r`;
  }

  #id(): string {
    this.#count++;
    return `${this.#prefix}${this.#count.toString(36)}`;
  }

  /** `YYYYMMDDHHMMSS+0900`, made once a second. */
  #now(): string {
    const second = Math.floor(this.#clock.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#timestamp = `${isoJst(second * 1000)
        .slice(0, 19)
        .replaceAll(/[-T:]/g, '')}+0900`;
    }
    return this.#timestamp;
  }
}
