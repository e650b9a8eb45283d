import { addDays, dayJst } from '../base/clock.ts';
import type { Db, Statement } from '../base/database.ts';
import type { FiledCategory } from '../model/category.ts';
import type { Basis, Gate, HoldReason, Question, SubjectId, Verdict } from '../model/ports.ts';
import type { DayJst, Instant } from '../model/record.ts';
import type { Register } from './register.ts';

export interface GateOptions {
  /** Each configured producer and the basis it is certified under. */
  readonly producers: readonly { readonly name: string; readonly basis: Basis }[];
  /** Calendar days between the notice and the first provision; at least 30. */
  readonly waitingDays: number;
  /** Age at which a register that nobody refreshed is no longer believed. */
  readonly maxAgeMs: number;
}

/** The time as far as the law may rely on it. */
export interface LawfulTime {
  now(): Instant;
  isTrusted(): boolean;
}

/** Reasons that concern everybody: they pause shipping, they void nothing. */
const globalReasons: ReadonlySet<HoldReason> = new Set(['no-register', 'register-stale', 'clock-untrusted']);

export function isGlobal(verdict: Verdict): boolean {
  return !verdict.pass && verdict.act === 'hold' && globalReasons.has(verdict.reason);
}

interface NoticeSeen {
  version: string;
  notified_on: DayJst;
}

/**
 * The judge. Asks the register where it lies, in SQLite, so that an answer always belongs to the same transaction as
 * what is done with it (docs/decisions/0007). Notice texts and filings are few and are kept until the version moves.
 *
 * REQ-ELIG-1, REQ-ELIG-2, REQ-ELIG-3, REQ-ELIG-4; Art. 52, 56, 57.
 */
export class RegisterGate implements Gate {
  readonly #options: GateOptions;
  readonly #register: Register;
  readonly #time: LawfulTime;
  readonly #bases: ReadonlyMap<string, Basis>;
  readonly #stopped: Statement<[SubjectId, string], unknown>;
  readonly #notices: Statement<[SubjectId], NoticeSeen>;
  #texts: RegisterTexts | undefined;

  constructor(db: Db, register: Register, time: LawfulTime, options: GateOptions) {
    this.#options = options;
    this.#register = register;
    this.#time = time;
    this.#bases = new Map(options.producers.map(({ name, basis }) => [name, basis]));
    this.#stopped = db.prepare(
      `SELECT 1 FROM subject AS me JOIN subject AS kin ON kin.root = me.root JOIN stop ON stop.subject = kin.id
       WHERE me.id = ? AND stop.withdrawn_at IS NULL AND stop.basis IN ('all', ?) LIMIT 1`,
    );
    this.#notices = db.prepare(
      `SELECT notice.version, notice.notified_on
       FROM subject AS me JOIN subject AS kin ON kin.root = me.root JOIN notice ON notice.subject = kin.id
       WHERE me.id = ?`,
    );
  }

  version(): number {
    return this.#register.version();
  }

  judge({ subject, category, producer }: Question): Verdict {
    const basis = this.#bases.get(producer);
    // A producer that left the configuration receives nothing, whatever is filed.
    if (!basis) return hold('not-filed');
    if (this.#stopped.get(subject, basis)) return { pass: false, act: 'refuse', reason: 'stopped' };
    if (category === 'unclassified') return hold('unclassified');
    const paused = this.paused();
    if (paused) return hold(paused);
    const day = dayJst(this.#time.now());
    const told = this.#coverage(subject, basis, category, day);
    if (told !== 'over') return told;
    return this.#isFiled(producer, basis, category, day) ? { pass: true } : hold('not-filed');
  }

  /** Why nobody's data may leave just now, or undefined. */
  paused(): HoldReason | undefined {
    if (!this.#time.isTrusted()) return 'clock-untrusted';
    const { asOf, isBlocked } = this.#load();
    if (asOf === undefined) return 'no-register';
    return isBlocked || this.#time.now() - asOf > this.#options.maxAgeMs ? 'register-stale' : undefined;
  }

  /** The instant the register speaks for: the last file's, or the last entry by hand where no file ever came. */
  asOf(): Instant | undefined {
    return this.#load().asOf;
  }

  /** The notice that lets this record pass, for the parcel's `basis` and `notice` fields. */
  noticeFor({ subject, category, producer }: Question): { basis: Basis; notice: string } | undefined {
    const basis = this.#bases.get(producer);
    if (!basis || category === 'unclassified') return undefined;
    const day = dayJst(this.#time.now());
    const covering = this.#notices
      .all(subject)
      .filter((notice) => this.#covers(notice, basis, category) && this.#firstDay(notice) <= day)
      .toSorted((a, b) => (a.notified_on < b.notified_on ? -1 : 1));
    return covering[0] && { basis, notice: covering[0].version };
  }

  #coverage(subject: SubjectId, basis: Basis, category: FiledCategory, day: DayJst): Verdict | 'over' {
    const onBasis = this.#notices.all(subject).filter(({ version }) => this.#notice(version)?.basis === basis);
    if (onBasis.length === 0) return hold('not-notified');
    const covering = onBasis.filter((notice) => this.#covers(notice, basis, category));
    if (covering.length === 0) return hold('category-not-notified');
    const first = covering.map((notice) => this.#firstDay(notice)).toSorted()[0] as DayJst;
    return first <= day ? 'over' : { ...hold('waiting'), until: first };
  }

  #covers({ version, notified_on }: NoticeSeen, basis: Basis, category: FiledCategory): boolean {
    const text = this.#notice(version);
    return text !== undefined && text.basis === basis && text.from <= notified_on && text.categories.has(category);
  }

  /** Waiting days are whole days after the day of the notice; provision begins on the day after the last of them. */
  #firstDay({ notified_on }: NoticeSeen): DayJst {
    return addDays(notified_on, this.#options.waitingDays + 1);
  }

  #isFiled(producer: string, basis: Basis, category: FiledCategory, day: DayJst): boolean {
    // A later filing replaces the earlier one for the same producer and basis: its items are the whole list.
    const inForce = this.#load()
      .filings.filter((filing) => filing.producer === producer && filing.basis === basis && filing.from <= day)
      .at(-1);
    return inForce?.categories.has(category) ?? false;
  }

  #notice(version: string): NoticeText | undefined {
    return this.#load().notices.get(version);
  }

  #load(): RegisterTexts {
    const version = this.#register.version();
    if (this.#texts?.version !== version) {
      this.#texts = {
        version,
        notices: new Map(this.#register.noticeVersions().map((row) => [row.version, withSet(row)])),
        filings: this.#register.filings().map(withSet),
        asOf: (this.#register.feed('file') ?? this.#register.feed('cli'))?.asOf,
        isBlocked: this.#register.blocked() !== undefined,
      };
    }
    return this.#texts;
  }
}

/** The few rows every judgement needs, as of one version of the register. */
interface RegisterTexts {
  version: number;
  notices: Map<string, NoticeText>;
  filings: FilingText[];
  asOf: Instant | undefined;
  isBlocked: boolean;
}

interface NoticeText {
  basis: Basis;
  from: DayJst;
  categories: ReadonlySet<FiledCategory>;
}

interface FilingText extends NoticeText {
  producer: string;
}

function withSet<T extends { categories: readonly FiledCategory[] }>(row: T) {
  return { ...row, categories: new Set(row.categories) };
}

function hold(reason: HoldReason): Extract<Verdict, { act: 'hold' }> {
  return { pass: false, act: 'hold', reason };
}
