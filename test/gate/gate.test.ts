import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addDays, startOfDayJst } from '../../agent/base/clock.ts';
import { addFiling, addNoticeVersion, notify } from '../../agent/flow/register.ts';
import type { FiledCategory } from '../../agent/model/category.ts';
import type { Basis, Verdict } from '../../agent/model/ports.ts';
import { anon, dayMs, daysBefore, Flow, ldi, longAgo, nameOf, today } from '../flow/harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow({ producers: [ldi, anon] });
});
afterEach(() => flow.remove());

function ask(patient = '1', category: FiledCategory | 'unclassified' = 'lab-result', producer = 'ldi'): Verdict {
  const subject = flow.store.subjects.find(nameOf(patient)) ?? flow.store.subjects.ensure(nameOf(patient));
  return flow.store.gate.judge({ subject, category, producer });
}

function notice(
  version: string,
  categories: readonly FiledCategory[],
  from = '2026-01-01',
  basis: Basis = 'article-57',
) {
  addNoticeVersion(flow.store, { version, basis, categories, from }, 'test');
}

function filing(
  categories: readonly FiledCategory[],
  from = '2026-01-01',
  producer = 'ldi',
  basis: Basis = 'article-57',
) {
  addFiling(flow.store, { producer, basis, categories, from }, 'test');
}

function tell(patient: string, version: string, on = longAgo): void {
  notify(flow.store, { name: nameOf(patient), version, on, via: 'test' });
}

const held = (reason: string) => expect.objectContaining({ pass: false, act: 'hold', reason });
const passes = { pass: true };
const refused = { pass: false, act: 'refuse', reason: 'stopped' };

describe('REQ-ELIG-1: a record passes only when everything is there', () => {
  it('passes when notice, waiting days, filing, freshness and clock are all there and nobody said stop', () => {
    notice('n1', ['lab-result']);
    filing(['lab-result']);
    tell('1', 'n1');
    expect(ask()).toEqual(passes);
  });

  it.each<[string, string, () => void]>([
    ['no notice to this patient', 'not-notified', () => tell('2', 'n1')],
    ['a notice on another basis', 'not-notified', () => tell('1', 'n52')],
    ['a notice without this item', 'category-not-notified', () => tell('1', 'n-image')],
    ['a notice text newer than the day it was given', 'category-not-notified', () => tell('1', 'n-later')],
    ['a notice of yesterday', 'waiting', () => tell('1', 'n1', daysBefore(today, 1))],
  ])('holds with %s', (_, reason, prepare) => {
    notice('n1', ['lab-result']);
    notice('n52', ['lab-result'], '2026-01-01', 'article-52');
    notice('n-image', ['image']);
    notice('n-later', ['lab-result'], '2026-05-01');
    filing(['lab-result']);
    prepare();
    expect(ask()).toEqual(held(reason));
  });

  it.each<[string, () => void]>([
    ['no filing at all', () => undefined],
    ['a filing for another producer', () => filing(['lab-result'], '2026-01-01', 'anon', 'article-57')],
    ['a filing on another basis', () => filing(['lab-result'], '2026-01-01', 'ldi', 'article-52')],
    ['a filing without this item', () => filing(['image'])],
    ['a filing that begins tomorrow', () => filing(['lab-result'], addDays(today, 1))],
  ])('holds with %s', (_, prepare) => {
    notice('n1', ['lab-result']);
    tell('1', 'n1');
    prepare();
    expect(ask()).toEqual(held('not-filed'));
  });

  it('holds before anybody has entered anything', () => {
    expect(ask()).toEqual(held('no-register'));
  });

  it('holds what no notice can name', () => {
    flow.filed();
    flow.told('1');
    expect(ask('1', 'unclassified')).toEqual(held('unclassified'));
  });

  it('holds for a producer that is not configured, whatever was filed', () => {
    flow.filed();
    flow.told('1');
    filing(['lab-result'], '2026-01-01', 'stranger');
    expect(ask('1', 'lab-result', 'stranger')).toEqual(held('not-filed'));
  });

  it('holds while the clock is not trusted', () => {
    flow.filed();
    flow.told('1');
    flow.time.isBelieved = false;
    expect(ask()).toEqual(held('clock-untrusted'));
  });

  it('holds while a row that may be a stop could not be read', () => {
    flow.filed();
    flow.told('1');
    flow.store.db.transaction(() => flow.store.register.block('1 report')).immediate();
    expect(ask()).toEqual(held('register-stale'));
  });
});

describe('REQ-ELIG-2: bases and filings are kept apart', () => {
  it('lets each producer have only what its own basis was notified for', () => {
    flow.filed(ldi);
    flow.filed(anon);
    flow.told('1', { basis: 'article-52' });
    expect(ask('1', 'lab-result', 'anon')).toEqual(passes);
    expect(ask('1', 'lab-result', 'ldi')).toEqual(held('not-notified'));
  });

  it('takes the items of a later filing for the whole list from its day on', () => {
    notice('n1', ['lab-result', 'image']);
    tell('1', 'n1');
    filing(['lab-result', 'image']);
    filing(['image'], addDays(today, 1));
    expect(ask()).toEqual(passes);
    flow.time.advanceDays(1);
    expect(ask()).toEqual(held('not-filed'));
    expect(ask('1', 'image')).toEqual(passes);
  });

  it('does not let a filing of an earlier day that was entered later replace the one in force', () => {
    notice('n1', ['lab-result', 'image']);
    tell('1', 'n1');
    filing(['lab-result'], '2026-06-01');
    filing(['image'], '2026-02-01');
    expect(ask()).toEqual(passes);
    expect(ask('1', 'image')).toEqual(held('not-filed'));
  });

  it('names in the parcel the notice that lets the record pass', () => {
    notice('n1', ['image']);
    notice('n2', ['lab-result'], '2026-02-01');
    filing(['lab-result']);
    tell('1', 'n1');
    tell('1', 'n2');
    const subject = flow.store.subjects.ensure(nameOf('1'));
    const told = flow.store.gate.noticeFor({ subject, category: 'lab-result', producer: 'ldi' });
    expect(told).toEqual({ basis: 'article-57', notice: 'n2' });
  });
});

describe('REQ-ELIG-3: waiting days are calendar days in Asia/Tokyo', () => {
  it.each([
    ['2026-01-31', '2026-03-04'],
    ['2026-02-28', '2026-04-01'],
    ['2026-12-31', '2027-02-01'],
    ['2028-01-29', '2028-03-01'],
  ])('lets what was notified on %s leave on %s and not a millisecond before', (on, first) => {
    notice('n1', ['lab-result'], '2026-01-01');
    filing(['lab-result']);
    tell('1', 'n1', on);
    flow.time.at = startOfDayJst(first) - 1;
    flow.fresh();
    expect(ask()).toEqual({ pass: false, act: 'hold', reason: 'waiting', until: first });
    flow.time.at = startOfDayJst(first);
    expect(ask()).toEqual(passes);
  });

  it('begins with the day of the earlier notice when a patient was told twice', () => {
    notice('n1', ['lab-result']);
    filing(['lab-result']);
    tell('1', 'n1', today);
    tell('1', 'n1', longAgo);
    expect(ask()).toEqual(passes);
    tell('1', 'n1', today);
    expect(ask()).toEqual(passes);
  });

  it('does not begin again when a newer text covers what an older one covered', () => {
    notice('n1', ['lab-result']);
    notice('n2', ['lab-result', 'image'], '2026-11-01');
    filing(['lab-result', 'image']);
    tell('1', 'n1');
    tell('1', 'n2', today);
    expect(ask()).toEqual(passes);
    expect(ask('1', 'image')).toEqual(held('waiting'));
  });
});

describe('REQ-ELIG-4: freshness', () => {
  it('holds when nobody has refreshed the register for longer than allowed, and not before', () => {
    flow.filed();
    flow.told('1');
    flow.time.at += 4 * dayMs;
    expect(ask()).toEqual(passes);
    flow.time.at += 1;
    expect(ask()).toEqual(held('register-stale'));
  });

  it('asks the file feed once a file came, however fresh the entries by hand are', () => {
    flow.filed();
    flow.told('1');
    const { register, db } = flow.store;
    const asOf = flow.time.now() - 5 * dayMs;
    db.transaction(() => register.refresh({ name: 'file', asOf, rowCount: 1 }, flow.time.now())).immediate();
    expect(ask()).toEqual(held('register-stale'));
  });

  it('does not let an older file make the register older', () => {
    flow.filed();
    flow.told('1');
    const { register } = flow.store;
    register.refresh({ name: 'file', asOf: flow.time.now(), rowCount: 1 }, flow.time.now());
    register.refresh({ name: 'file', asOf: flow.time.now() - 10 * dayMs, rowCount: 1 }, flow.time.now());
    expect(ask()).toEqual(passes);
  });
});

describe('REQ-STOP-1: a stop', () => {
  beforeEach(() => {
    flow.filed(ldi);
    flow.filed(anon);
    for (const patient of ['1', '2']) {
      flow.told(patient);
      flow.told(patient, { basis: 'article-52' });
    }
  });

  it('on one basis leaves the other as it was', async () => {
    await flow.stop('1', 'article-57');
    expect(ask('1')).toEqual(refused);
    expect(ask('1', 'lab-result', 'anon')).toEqual(passes);
  });

  it('on all bases stops every producer, and nobody else', async () => {
    await flow.stop('1');
    expect([ask('1'), ask('1', 'lab-result', 'anon')]).toEqual([refused, refused]);
    expect(ask('2')).toEqual(passes);
  });

  it('refuses even when the register is stale, the clock is not trusted and the item has no name', async () => {
    await flow.stop('1');
    flow.time.isBelieved = false;
    flow.time.advanceDays(30);
    expect(ask('1', 'unclassified')).toEqual(refused);
  });

  it('of a patient nobody has heard of is in force when the first record comes', async () => {
    await flow.stop('9');
    expect(ask('9')).toEqual(refused);
  });

  it('ends only by a withdrawal on its own basis or on all', async () => {
    await flow.stop('1', 'article-57');
    expect(flow.withdraw('1', 'article-52')).toBe(0);
    expect(ask('1')).toEqual(refused);
    expect(flow.withdraw('1')).toBe(1);
    expect(ask('1')).toEqual(passes);
  });

  it.each([
    ['the one that goes', '1', '2'],
    ['the one that stays', '2', '1'],
  ])('of %s covers both of two who became one', async (_, prior, surviving) => {
    await flow.stop('1');
    const { subjects, db } = flow.store;
    const [a, b] = [subjects.ensure(nameOf(prior)), subjects.ensure(nameOf(surviving))];
    db.transaction(() => subjects.unite(a, b, flow.time.now())).immediate();
    expect([ask('1'), ask('2')]).toEqual([refused, refused]);
  });

  it('covers a chain of merges whatever the order', async () => {
    await flow.stop('3');
    const { subjects } = flow.store;
    const [a, b, c] = ['1', '2', '3'].map((id) => subjects.ensure(nameOf(id))) as [number, number, number];
    subjects.unite(a, b, 1);
    subjects.unite(c, b, 2);
    expect(['1', '2', '3'].map((id) => ask(id))).toEqual([refused, refused, refused]);
  });
});

describe('what the gate remembers', () => {
  it('takes the notice of either name of a person who became one', () => {
    flow.filed();
    flow.told('2');
    const { subjects } = flow.store;
    expect(ask('1')).toEqual(held('not-notified'));
    subjects.unite(subjects.ensure(nameOf('1')), subjects.ensure(nameOf('2')), 1);
    expect(ask('1')).toEqual(passes);
  });

  it('does not believe what a transaction that was rolled back had entered', () => {
    flow.filed();
    flow.told('1');
    const { db, register } = flow.store;
    const lost = () =>
      db
        .transaction(() => {
          register.touch();
          register.addFiling({ producer: 'ldi', basis: 'article-57', categories: ['image'], from: longAgo }, 1);
          expect(ask('1')).toEqual(held('not-filed'));
          throw new Error('the disk is full');
        })
        .immediate();
    expect(lost).toThrow('the disk is full');
    const blocks = db.transaction(() => {
      register.touch();
      register.block('1 report');
    });
    blocks.immediate();
    expect(ask('1')).toEqual(held('register-stale'));
  });

  it('forgets a stop and a merge that were rolled back, and the answers given while they stood', () => {
    flow.filed();
    flow.told('1');
    flow.told('2');
    const { db, register, subjects } = flow.store;
    const [one, two] = ['1', '2'].map((id) => subjects.ensure(nameOf(id))) as [number, number];
    const undone = (change: () => void) => {
      const work = db.transaction(() => {
        change();
        expect([ask('1'), ask('2')]).toContainEqual(refused);
        throw new Error('the disk is full');
      });
      expect(() => work.immediate()).toThrow('the disk is full');
      expect([ask('1'), ask('2')]).toEqual([passes, passes]);
    };
    const stop = (subject: number) => register.addStop({ subject, basis: 'all', stoppedOn: longAgo }, 1);
    undone(() => stop(one));
    // The number that the lost change had used must not stand for this one.
    stop(two);
    expect([ask('1'), ask('2')]).toEqual([passes, refused]);
    register.withdrawStops([two], 'all', 2);
    undone(() => {
      stop(two);
      subjects.unite(one, two, 3);
    });
    subjects.unite(one, two, 4);
    expect([ask('1'), ask('2')]).toEqual([passes, passes]);
    stop(two);
    expect([ask('1'), ask('2')]).toEqual([refused, refused]);
  });

  it('raises its version with every change that can change a verdict', async () => {
    const seen = [flow.store.gate.version()];
    const note = () => seen.push(flow.store.gate.version());
    flow.filed();
    note();
    flow.told('1');
    note();
    flow.fresh();
    note();
    await flow.stop('1');
    note();
    flow.withdraw('1');
    note();
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });
});
