/** What may happen to the connector, each as one step of product and model side by side. */
import fc from 'fast-check';
import { addDays } from '../../agent/base/clock.ts';
import type { Parcel } from '../../agent/buffer/parcels.ts';
import { assign } from '../../agent/flow/assign.ts';
import { believe, believeIfFresh } from '../../agent/flow/epoch.ts';
import { permit } from '../../agent/flow/publish.ts';
import { expire } from '../../agent/flow/refresh.ts';
import { addFiling, notify } from '../../agent/flow/register.ts';
import { settleVoid } from '../../agent/flow/settle.ts';
import { crashPoints } from '../../agent/flow/store.ts';
import type { ReceiptStatus } from '../../agent/model/wire.ts';
import { type Flow, merge, nameOf, record, today } from '../flow/harness.ts';
import type { FarEnd } from './far-end.ts';
import { basisOf, type Item, type Model, type ParcelModel, type Producer, producers, type StopBasis } from './model.ts';
import { compare, expectSame, type System } from './system.ts';

interface Acts<T> {
  readonly words: string;
  /** What it is about in this history, or undefined when it cannot happen now. */
  readonly about: (model: Model) => T | undefined;
  readonly product: (flow: Flow, about: T, system: System) => unknown;
  /** Returns what the product must have returned. */
  readonly model: (model: Model, about: T) => unknown;
}

class Step<T> implements fc.AsyncCommand<Model, System> {
  readonly #acts: Acts<T>;

  constructor(acts: Acts<T>) {
    this.#acts = acts;
  }

  check(model: Readonly<Model>): boolean {
    return this.#acts.about(model as Model) !== undefined;
  }

  async run(model: Model, system: System): Promise<void> {
    const { words, about, product, model: expected } = this.#acts;
    const subject = about(model) as T;
    try {
      const found = await product(system.flow, subject, system);
      expectSame(words, found, expected(model, subject));
    } catch (error) {
      if (!system.hasCrashed) throw error;
      const { armed = '' } = system;
      // What was committed has happened; what was only journaled happens at the next start.
      if (armed.endsWith(':committed') || armed.startsWith('stop:')) expected(model, subject);
    }
    if (system.hasCrashed) await system.restart(model);
    compare(model, system);
  }

  toString(): string {
    return this.#acts.words;
  }
}

const patients = ['1', '2', '3', '4'] as const;
const patient = fc.constantFrom(...patients);
const producer = fc.constantFrom(...producers);
const stopBasis = fc.constantFrom<StopBasis>('article-57', 'article-52', 'all');
const lane = fc.constantFrom('text', 'image');
const items = fc.constantFrom<readonly Item[]>(['lab-result', 'image', 'demographics'], ['lab-result'], ['image']);
const always = () => true as const;

interface Offered {
  readonly patient: string;
  readonly item: Item;
  readonly n: number;
}

/** Several senders at once: their offers share a transaction. */
function offer(offered: readonly Offered[]) {
  const keyed = offered.map((each) => ({ ...each, key: `HIS|${each.patient}|${each.item}|${each.n}` }));
  return new Step({
    words: `accept ${keyed.map(({ key }) => key).join(' + ')}`,
    about: always,
    product: async (flow) => {
      const offers = keyed.map(({ key, patient, item }) =>
        flow.offer(record({ key, patient, category: item, lane: item === 'image' ? 'image' : 'text' })),
      );
      const settled = await Promise.allSettled(offers);
      return settled.map((each) => {
        if (each.status === 'rejected') throw each.reason;
        return each.value[0]?.outcome;
      });
    },
    model: (model) => keyed.map(({ key, patient, item }) => model.accept({ key, people: [patient], item })),
  });
}

const one = fc.record({ patient, item: fc.constantFrom<Item>('lab-result', 'image'), n: fc.constantFrom(1, 2) });
const accept = fc.array(one, { minLength: 1, maxLength: 3 }).map(offer);

const unite = fc
  .tuple(patient, patient)
  .filter(([a, b]) => a !== b)
  .map(
    ([prior, surviving]) =>
      new Step({
        words: `merge ${prior} into ${surviving}`,
        about: always,
        product: (flow) => flow.outcomes(merge(prior, surviving)),
        model: (model) => [
          model.accept(
            { key: `A40|${prior}|${surviving}`, people: [surviving, prior], item: 'demographics' },
            { prior, surviving },
          ),
        ],
      }),
  );

/** Mostly somebody looks at the register afterwards: a stale one pauses everything, and little can go wrong then. */
const pass = fc.tuple(fc.constantFrom(1, 1, 3, 15, 33), fc.constantFrom(true, true, true, false)).map(
  ([days, isLookedAt]) =>
    new Step({
      words: `${days} day(s) pass${isLookedAt ? ' and somebody looks at the register' : ''}`,
      about: always,
      product: (flow) => {
        flow.time.advanceDays(days);
        if (isLookedAt) flow.fresh();
      },
      model: (model) => {
        model.day += days;
        if (isLookedAt) model.looked();
      },
    }),
);

const trust = fc.constantFrom(true, true, true, false).map(
  (isTrusted) =>
    new Step({
      words: `the clock is ${isTrusted ? '' : 'not '}trusted`,
      about: always,
      product: (flow) => void (flow.time.isBelieved = isTrusted),
      model: (model) => void (model.isClockTrusted = isTrusted),
    }),
);

const tell = fc
  .record({ patient, to: producer, text: fc.constantFrom('all', 'lab'), ago: fc.constantFrom(0, 20, 31, 32, 60) })
  .map(
    ({ patient, to, text, ago }) =>
      new Step({
        words: `patient ${patient} was told ${text} for ${to} ${ago} day(s) ago`,
        about: (model) => ({ day: model.day - ago }),
        product: (flow, { day }) =>
          notify(flow.store, {
            name: nameOf(patient),
            version: versionOf(to, text),
            on: addDays(today, day),
            via: 'test',
          }),
        model: (model, { day }) => model.tell(patient, basisOf[to], text, day),
      }),
  );

export function versionOf(to: Producer, text: string): string {
  return `${text}-${basisOf[to]}`;
}

const file = fc.record({ to: producer, items, ahead: fc.constantFrom(-50, 0, 2) }).map(
  ({ to, items, ahead }) =>
    new Step({
      words: `filed ${items.join()} for ${to} from ${ahead} day(s) from now`,
      about: (model) => ({ day: model.day + ahead }),
      product: (flow, { day }) =>
        addFiling(
          flow.store,
          { producer: to, basis: basisOf[to], categories: items, from: addDays(today, day) },
          'test',
        ),
      model: (model, { day }) => model.file(to, items, day),
    }),
);

const stopBy = (who: string, basis: StopBasis) =>
  new Step({
    words: `patient ${who} stops ${basis}`,
    about: always,
    product: (flow) => flow.stop(who, basis).then(() => undefined),
    model: (model) => model.stop(who, basis),
  });

const stop = fc.tuple(patient, stopBasis).map(([who, basis]) => stopBy(who, basis));

const withdraw = fc.tuple(patient, stopBasis).map(
  ([who, basis]) =>
    new Step({
      words: `patient ${who} withdraws ${basis}`,
      about: always,
      product: (flow) => void flow.withdraw(who, basis),
      model: (model) => model.withdraw(who, basis),
    }),
);

const refresh = fc.constant(
  new Step({
    words: 'refresh',
    about: always,
    product: (flow) => flow.refresh().then(() => undefined),
    model: (model) => model.refresh(),
  }),
);

const expireAll = fc.constant(
  new Step({
    words: 'expire',
    about: always,
    product: (flow) => flow.finish(expire(flow.store, flow.time.now()).after),
    model: (model) => model.expire(),
  }),
);

const bindTo = (to: Producer, which: string) =>
  new Step({
    words: `assign ${which} to ${to}`,
    about: (model): { mayBind: boolean; named?: { row: number; pid: string } } => ({
      mayBind: model.packing(to) === undefined && model.readyOf(to, which).length > 0,
    }),
    product: (flow, about, { farEnds }) => {
      const lane = which === 'image' ? 'image' : 'text';
      const row = assign(flow.store, flow.producer(to), { lane, sequenceFloor: farEnds[to].sequence });
      if (row !== undefined && about.mayBind) about.named = { row, pid: flow.parcel(row).pid };
      return about.mayBind ? row !== undefined : row === undefined || flow.parcel(row).sha256 === null;
    },
    model: (model, { named }) => {
      if (named) model.assign(to, which, named);
      return true;
    },
  });

const wrapFor = (to: Producer) =>
  new Step({
    words: `pack for ${to}`,
    about: (model) => without(model.packing(to), (parcel) => parcel.hasFile),
    product: (flow, { row }, system) => system.pack(flow, to, row),
    model: (_, parcel) => void (parcel.hasFile = true),
  });

function without<T>(value: T | undefined, isUnfit: (value: T) => boolean): T | undefined {
  return value === undefined || isUnfit(value) ? undefined : value;
}

const publishTo = (to: Producer) =>
  new Step({
    words: `publish to ${to}`,
    about: (model) => without(model.packing(to), (parcel) => !parcel.hasFile),
    product: (flow, { row }) => flow.publish(row, to),
    model: (model, parcel) => {
      const kind = model.publish(parcel);
      const people = kind === 'published' ? model.contents(parcel).flatMap(({ record }) => record.people) : [];
      if (people.some((who) => model.hasSaidNo(who, to))) throw new Error('somebody who has said no is published');
      return kind;
    },
  });

/** One of the parcels in some state, by a number that stays meaningful while a history shrinks. */
const pick = (...states: readonly ParcelModel['state'][]) =>
  fc.nat(3).map((n) => (model: Model) => {
    const fit = model.parcels.filter(({ state }) => states.includes(state));
    return fit[n % Math.max(fit.length, 1)];
  });

const ask = pick('sealed', 'voiding', 'stored', 'void').map(
  (about) =>
    new Step({
      words: 'ask before a part',
      about,
      product: (flow, { row, producer: to }) => permit(flow.store, flow.producer(to), flow.parcel(row).pid),
      model: (model, parcel) => model.permit(parcel),
    }),
);

type About = (model: Model) => ParcelModel | undefined;

const sendWhole = (about: About) =>
  new Step({
    words: 'the last byte leaves',
    about,
    product: (flow, { row, producer: to }, { farEnds }) => {
      flow.store.parcels.move(row, 'uploading');
      farEnds[to].announced(flow.parcel(row));
      flow.store.parcels.sending(row, flow.parcel(row).bytes ?? 0);
    },
    model: (_, parcel) => void (parcel.hasLeftWhole = true),
  });

const send = pick('sealed').map(sendWhole);

/** The producer signs something of a parcel, if it would, and the connector reads its next receipt. */
const signed = (status: ReceiptStatus, { words, about }: { words: string; about: About }) =>
  new Step({
    words,
    about,
    product: async (flow, { row, producer: to }, system) => {
      const farEnd = system.farEnds[to];
      const parcel = flow.parcel(row);
      if (mayFollow(farEnd, parcel, status)) farEnd.answer(parcel, status);
      await system.settle(to);
    },
    model: (model, { producer: to }) => model.settleNext(to),
  });

/** `stored` comes first, and never after a DELETE was answered 204; `opened` or `rejected` comes once. */
function mayFollow(farEnd: FarEnd, parcel: Parcel, status: ReceiptStatus): boolean {
  const said = farEnd.statusOf(parcel.pid);
  if (status !== 'stored') return said === 'stored';
  if (said !== undefined || farEnd.isVoid(parcel.pid)) return false;
  // What a restore takes back is sent no more: it had been announced before, or never will be.
  if (parcel.state !== 'voiding') farEnd.announced(parcel);
  return farEnd.hasHeardOf(parcel) || farEnd.wouldHear(parcel);
}

const receiveWhole = (about: About) => signed('stored', { words: 'stored (too late for a DELETE)', about });

const receive = pick('sealed', 'voiding').map(receiveWhole);

const answer = fc
  .tuple(pick('stored'), fc.constantFrom<ReceiptStatus>('opened', 'opened', 'rejected'))
  .map(([about, status]) => signed(status, { words: status, about }));

const letGoOf = (about: About, isAtomic: boolean) =>
  new Step({
    words: `DELETE answered 204${isAtomic ? '' : ', without a promise'}`,
    // A run reads receipts first: whatever the producer has stored is known by then.
    about: (model) => without(about(model), ({ producer: to }) => model.hasUnread(to)),
    product: (flow, { row, pid, producer: to }, { farEnds }) => {
      farEnds[to].deleted(pid);
      return flow.finish(settleVoid(flow.store, flow.producer(to), row, { atomic: isAtomic }));
    },
    model: (model, parcel) => model.voided(parcel, isAtomic),
  });

const letGo = fc.tuple(pick('voiding'), fc.boolean()).map(([about, isAtomic]) => letGoOf(about, isAtomic));

const readNext = (to: Producer) =>
  new Step({
    words: `read a receipt of ${to}`,
    about: (model) => model.hasUnread(to) || undefined,
    product: (_, __, system) => system.settle(to),
    model: (model) => model.settleNext(to),
  });

const confirmBy = (by: 'person' | 'register') =>
  new Step({
    words: `confirmed by a ${by}`,
    about: always,
    product: (flow) => {
      if (by === 'person') return believe(flow.store);
      flow.fresh();
      return believeIfFresh(flow.store);
    },
    model: (model) => model.confirm(by),
  });

const confirm = fc.constantFrom<'person' | 'register'>('person', 'register').map(confirmBy);

/** Several steps in a row, as far as each can happen: without them few histories would get as far as a receipt. */
class Row implements fc.AsyncCommand<Model, System> {
  readonly #steps: readonly fc.AsyncCommand<Model, System>[];

  constructor(steps: readonly fc.AsyncCommand<Model, System>[]) {
    this.#steps = steps;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, system: System): Promise<void> {
    for (const step of this.#steps) if (step.check(model)) await step.run(model, system);
  }

  toString(): string {
    return `(${this.#steps.map((step) => step.toString()).join(', ')})`;
  }
}

const bind = fc.tuple(producer, lane).map(([to, which]) => bindTo(to, which));
const wrap = producer.map(wrapFor);
const announce = producer.map(publishTo);
/** What a run does first. */
const readAll = producer.map((to) => new Row([readNext(to), readNext(to), readNext(to)]));
const ship = fc.tuple(producer, lane).map(([to, which]) => new Row([bindTo(to, which), wrapFor(to), publishTo(to)]));
const settleAll = fc.tuple(letGo, receive, answer).map((steps) => new Row(steps));

class Restart implements fc.AsyncCommand<Model, System> {
  check(): boolean {
    return true;
  }

  async run(model: Model, system: System): Promise<void> {
    await system.restart(model);
    compare(model, system);
  }

  toString(): string {
    return 'restart';
  }
}

class Backup implements fc.AsyncCommand<Model, System> {
  check(): boolean {
    return true;
  }

  async run(model: Model, system: System): Promise<void> {
    await system.backUp();
    model.backUp();
    compare(model, system);
  }

  toString(): string {
    return 'backup';
  }
}

/** The machine is lost, and an earlier copy of its state is put on another, with the journal of today. */
class Restore implements fc.AsyncCommand<Model, System> {
  readonly #n: number;

  /** @param n 0 is the newest copy */
  constructor(n: number) {
    this.#n = n;
  }

  check({ backups }: Readonly<Model>): boolean {
    return backups.length > 0;
  }

  async run(model: Model, system: System): Promise<void> {
    const n = model.backups.length - 1 - (this.#n % model.backups.length);
    // A machine is not replaced within a day.
    system.flow.time.advanceDays(1);
    model.day++;
    try {
      await system.restore(n);
    } catch (error) {
      // While a stop of the journal was made true; the next start goes on with it.
      if (!system.hasCrashed) throw error;
    }
    model.restore(n);
    if (system.hasCrashed) await system.restart(model);
    compare(model, system);
  }

  toString(): string {
    return `restore ${this.#n}`;
  }
}

/**
 * A parcel's whole way with a backup somewhere on it; then the machine is lost, somebody may say no, and it goes on.
 */
const lostOnTheWay = fc
  .record({ to: producer, sent: one, until: fc.nat(3), isStored: fc.boolean(), who: fc.option(patient) })
  .map(({ to, sent, until, isStored, who }) => {
    const which = sent.item === 'image' ? 'image' : 'text';
    const about = (model: Model) => model.parcels.findLast(({ producer: whose }) => whose === to);
    const isIn = (state: ParcelModel['state']) => (model: Model) => without(about(model), (it) => it.state !== state);
    const before = [bindTo(to, which), wrapFor(to), publishTo(to), sendWhole(isIn('sealed'))];
    return new Row([
      offer([sent]),
      ...before.slice(0, until + 1),
      new Backup(),
      ...before.slice(until + 1),
      ...(isStored ? [receiveWhole(isIn('sealed'))] : []),
      new Restore(0),
      ...(who === null ? [] : [stopBy(who, 'all')]),
      readNext(to),
      letGoOf(isIn('voiding'), false),
      confirmBy('person'),
      bindTo(to, which),
      wrapFor(to),
      publishTo(to),
      receiveWhole(isIn('sealed')),
    ]);
  });

/** Receipts are rare, so their points are asked for more often. */
const arm = fc.constantFrom(...crashPoints, ...crashPoints.filter((point) => point.startsWith('settle'))).map(
  (point): fc.AsyncCommand<Model, System> => ({
    check: () => true,
    run: (_, system) => Promise.resolve(void (system.armed = point)),
    toString: () => `arm ${point}`,
  }),
);

/** How likely each is: a history gets somewhere only if records come and parcels go. */
const weights = new Map<fc.Arbitrary<fc.AsyncCommand<Model, System>>, number>([
  [accept, 3],
  [unite, 1],
  [tell, 1],
  [file, 1],
  [stop, 1],
  [withdraw, 1],
  [pass, 2],
  [trust, 1],
  [refresh, 2],
  [expireAll, 1],
  [bind, 1],
  [wrap, 1],
  [announce, 1],
  [ship, 3],
  [ask, 2],
  [send, 1],
  [receive, 1],
  [answer, 1],
  [letGo, 1],
  [settleAll, 2],
  [arm, 2],
  [fc.constant(new Restart()), 1],
  [fc.constant(new Backup()), 1],
  [fc.nat(1).map((n) => new Restore(n)), 1],
  [lostOnTheWay, 1],
  [readAll, 1],
  [confirm, 1],
]);

export const commands = [...weights].flatMap(([command, weight]) => Array.from({ length: weight }, () => command));
