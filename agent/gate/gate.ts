import { addDays, dayJst, startOfDayJst } from '../base/clock.ts';
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

/** A notice somebody was given. */
interface NoticeSeen {
  readonly version: string;
  readonly notifiedOn: DayJst;
  /** When its waiting days are over. */
  readonly firstDay: DayJst;
}

/** All that the register says of one person, whatever names it is known by. */
interface Standing {
  readonly stops: ReadonlySet<string>;
  readonly notices: readonly NoticeSeen[];
}

interface StandingRow {
  readonly united: 0 | 1;
  readonly stop: string | null;
  readonly version: string | null;
  readonly notifiedOn: DayJst | null;
}

/** Persons whose standing is kept, some 400 bytes each: everybody who is in the hospital on one day. */
const standingsMax = 8192;

/**
 * The judge. Asks the register where it lies, in SQLite, so that an answer always belongs to the same transaction as
 * what is done with it. What it has read is kept until the register's version moves, and the version is asked each
 * time: a change makes it another, and one that a rolled-back transaction used is never used again
 * (docs/decisions/0007).
 *
 * REQ-ELIG-1, REQ-ELIG-2, REQ-ELIG-3, REQ-ELIG-4; Art. 52, 56, 57.
 */
export class RegisterGate implements Gate {
  readonly #options: GateOptions;
  readonly #register: Register;
  readonly #time: LawfulTime;
  readonly #bases: ReadonlyMap<string, Basis>;
  readonly #ofOne: Statement<[SubjectId], StandingRow>;
  readonly #ofFamily: Statement<[SubjectId], StandingRow>;
  #texts: RegisterTexts | undefined;
  #today: { day: DayJst; from: Instant; to: Instant } | undefined;

  constructor(db: Db, register: Register, time: LawfulTime, options: GateOptions) {
    this.#options = options;
    this.#register = register;
    this.#time = time;
    this.#bases = new Map(options.producers.map(({ name, basis }) => [name, basis]));
    // One row for each pair of a stop and a notice; a person has few of either.
    const said = (kin: string) => `LEFT JOIN stop ON stop.subject = ${kin}.id AND stop.withdrawn_at IS NULL
      LEFT JOIN notice ON notice.subject = ${kin}.id WHERE me.id = ?`;
    const columns = 'me.united, stop.basis AS stop, notice.version, notice.notified_on AS notifiedOn';
    this.#ofOne = db.prepare(`SELECT ${columns} FROM subject AS me ${said('me')}`);
    this.#ofFamily = db.prepare(
      `SELECT ${columns} FROM subject AS me JOIN subject AS kin ON kin.root = me.root ${said('kin')}`,
    );
  }

  version(): number {
    return this.#register.version();
  }

  judge({ subject, category, producer }: Question): Verdict {
    const basis = this.#bases.get(producer);
    // A producer that left the configuration receives nothing, whatever is filed.
    if (!basis) return hold('not-filed');
    const texts = this.#load();
    const standing = this.#standingOf(subject, texts);
    if (standing.stops.has('all') || standing.stops.has(basis))
      return { pass: false, act: 'refuse', reason: 'stopped' };
    if (category === 'unclassified') return hold('unclassified');
    const paused = this.#pausedBy(texts);
    if (paused) return hold(paused);
    const day = this.#day();
    const told = coverage(standing, texts, { basis, category, day });
    if (told !== 'over') return told;
    return isFiled(texts, { producer, basis, category, day }) ? { pass: true } : hold('not-filed');
  }

  /** Why nobody's data may leave just now, or undefined. */
  paused(): HoldReason | undefined {
    return this.#pausedBy(this.#load());
  }

  #pausedBy({ asOf, isBlocked }: RegisterTexts): HoldReason | undefined {
    if (!this.#time.isTrusted()) return 'clock-untrusted';
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
    const day = this.#day();
    const texts = this.#load();
    const covering = this.#standingOf(subject, texts)
      .notices.filter((notice) => covers(notice, texts, basis, category) && notice.firstDay <= day)
      .toSorted((a, b) => (a.notifiedOn < b.notifiedOn ? -1 : 1));
    return covering[0] && { basis, notice: covering[0].version };
  }

  #standingOf(subject: SubjectId, { standings }: RegisterTexts): Standing {
    const known = standings.get(subject);
    if (known) return known;
    const standing = this.#readStanding(subject);
    if (standings.size >= standingsMax) standings.delete(standings.keys().next().value as SubjectId);
    standings.set(subject, standing);
    return standing;
  }

  #readStanding(subject: SubjectId): Standing {
    const stops = new Set<string>();
    const notices = new Map<string, NoticeSeen>();
    const own = this.#ofOne.all(subject);
    for (const { stop, version, notifiedOn } of own[0]?.united ? this.#ofFamily.all(subject) : own) {
      if (stop !== null) stops.add(stop);
      if (version === null || notifiedOn === null) continue;
      notices.set(`${version} ${notifiedOn}`, { version, notifiedOn, firstDay: this.#firstDay(notifiedOn) });
    }
    return { stops, notices: [...notices.values()] };
  }

  /** Waiting days are whole days after the day of the notice; provision begins on the day after the last of them. */
  #firstDay(notifiedOn: DayJst): DayJst {
    return addDays(notifiedOn, this.#options.waitingDays + 1);
  }

  /** Today in Asia/Tokyo, written once a day: this is asked for every record. */
  #day(): DayJst {
    const now = this.#time.now();
    if (!this.#today || now < this.#today.from || now >= this.#today.to) {
      const day = dayJst(now);
      this.#today = { day, from: startOfDayJst(day), to: startOfDayJst(addDays(day, 1)) };
    }
    return this.#today.day;
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
        standings: new Map(),
      };
    }
    return this.#texts;
  }
}

/** What judgements need, as of one version of the register. */
interface RegisterTexts {
  version: number;
  notices: Map<string, NoticeText>;
  filings: FilingText[];
  asOf: Instant | undefined;
  isBlocked: boolean;
  /** Of whoever was asked about since, the oldest first. */
  standings: Map<SubjectId, Standing>;
}

interface NoticeText {
  basis: Basis;
  from: DayJst;
  categories: ReadonlySet<FiledCategory>;
}

interface FilingText extends NoticeText {
  producer: string;
}

interface Matter {
  readonly basis: Basis;
  readonly category: FiledCategory;
  readonly day: DayJst;
}

function coverage({ notices }: Standing, texts: RegisterTexts, { basis, category, day }: Matter): Verdict | 'over' {
  let isNotified = false;
  let first: DayJst | undefined;
  for (const notice of notices) {
    if (texts.notices.get(notice.version)?.basis !== basis) continue;
    isNotified = true;
    if (!covers(notice, texts, basis, category)) continue;
    if (first === undefined || notice.firstDay < first) first = notice.firstDay;
  }
  if (!isNotified) return hold('not-notified');
  if (first === undefined) return hold('category-not-notified');
  return first <= day ? 'over' : { ...hold('waiting'), until: first };
}

function covers(
  { version, notifiedOn }: NoticeSeen,
  { notices }: RegisterTexts,
  basis: Basis,
  category: FiledCategory,
): boolean {
  const text = notices.get(version);
  return text !== undefined && text.basis === basis && text.from <= notifiedOn && text.categories.has(category);
}

/** A later filing replaces the earlier one for the same producer and basis: its items are the whole list. */
function isFiled(
  { filings }: RegisterTexts,
  { producer, basis, category, day }: Matter & { producer: string },
): boolean {
  const inForce = filings.findLast(
    (filing) => filing.producer === producer && filing.basis === basis && filing.from <= day,
  );
  return inForce?.categories.has(category) ?? false;
}

function withSet<T extends { categories: readonly FiledCategory[] }>(row: T) {
  return { ...row, categories: new Set(row.categories) };
}

function hold(reason: HoldReason): Extract<Verdict, { act: 'hold' }> {
  return { pass: false, act: 'hold', reason };
}
