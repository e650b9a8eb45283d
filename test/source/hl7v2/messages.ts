/** Invented messages. Built as Latin-1 text or, where they hold Japanese, encoded by tables in this file. */
export interface MessageParts {
  readonly controlId: string;
  readonly type?: string;
  readonly patientId?: string;
  readonly msh15?: string;
  readonly msh16?: string;
  readonly msh18?: string;
  /** Segments after the PID, without their CR. */
  readonly segments?: readonly string[];
}

export function message(parts: MessageParts): string {
  const { controlId, type = 'ADT^A08^ADT_A01', patientId = '00012345^^^^PI', segments = ['PV1|0001|O'] } = parts;
  const { msh15 = '', msh16 = '', msh18 = '' } = parts;
  const msh = `MSH|^~\\&|HIS001|KAKEHASHI|GW01|RCV|20261123101530||${type}|${controlId}|P|2.5|||${msh15}|${msh16}||${msh18}`;
  const pid = patientId === '' ? [] : [`PID|0001||${patientId}||KAKEHASHI^TARO^^^^^L^A||19700101|M`];
  return [msh.replace(/\|+$/, ''), 'EVN||20261123101500', ...pid, ...segments].map((line) => `${line}\r`).join('');
}

/**
 * 山本 マウ子, 糖尿病 骨折 表: characters whose bytes hold `| ^ \ & ~` in one encoding or another. No encoder comes
 * with Node, so the tables give each character's bytes; the test for this table decodes them back.
 */
const characters: Readonly<Record<string, { jis: string; cp932: string; euc: string }>> = {
  山: { jis: '3B33', cp932: '8E52', euc: 'BBB3' },
  本: { jis: '4B5C', cp932: '967B', euc: 'CBDC' },
  マ: { jis: '255E', cp932: '837D', euc: 'A5DE' },
  ウ: { jis: '2526', cp932: '8345', euc: 'A5A6' },
  子: { jis: '3B52', cp932: '8E71', euc: 'BBD2' },
  糖: { jis: '457C', cp932: '939C', euc: 'C5FC' },
  尿: { jis: '4722', cp932: '9441', euc: 'C7A2' },
  病: { jis: '4942', cp932: '9561', euc: 'C9C2' },
  骨: { jis: '397C', cp932: '8D9C', euc: 'B9FC' },
  折: { jis: '405E', cp932: '90DC', euc: 'C0DE' },
  表: { jis: '493D', cp932: '955C', euc: 'C9BD' },
  ソ: { jis: '253D', cp932: '835C', euc: 'A5BD' },
  能: { jis: '473D', cp932: '945C', euc: 'C7BD' },
  入: { jis: '467E', cp932: '93FC', euc: 'C6FE' },
};

export type Encoding = 'utf-8' | 'iso-2022-jp' | 'cp932' | 'euc-jp';

/** ASCII and the characters of the table; ISO-2022-JP returns with `back`. */
export function encode(text: string, encoding: Encoding, back = '\x1b(B'): Buffer {
  if (encoding === 'utf-8') return Buffer.from(text);
  const runs = text.match(/\p{ASCII}+|\P{ASCII}+/gu) ?? [];
  return Buffer.concat(
    runs.map((run) => {
      if (run.charCodeAt(0) < 0x80) return Buffer.from(run, 'latin1');
      const column = encoding === 'cp932' ? 'cp932' : encoding === 'euc-jp' ? 'euc' : 'jis';
      const bytes = Buffer.from(Array.from(run, (character) => characters[character]?.[column] ?? '').join(''), 'hex');
      if (encoding !== 'iso-2022-jp') return bytes;
      return Buffer.concat([Buffer.from('\x1b$B', 'latin1'), bytes, Buffer.from(back, 'latin1')]);
    }),
  );
}

export const knownCharacters = Object.keys(characters).join('');

/** A patient whose every name has a delimiter's byte in it somewhere. */
export function japaneseMessage(controlId: string, msh18: string): string {
  return [
    `MSH|^~\\&|HIS001|KAKEHASHI|GW01|RCV|20261123101530||ADT^A08^ADT_A01|${controlId}|P|2.5^JPN||||||${msh18}`,
    'EVN||20261123101500',
    'PID|0001||00012345^^^^PI||山本^マウ子^^^^^L^I~マウ^ソマ^^^^^L^P~YAMAMOTO^MAUKO^^^^^L^A||19700101|F|||^^^^422-8033^JPN^H^山入1-2-3',
    'DG1|1||E11^糖尿病 骨折 表^I10||20261101|A',
    '',
  ].join('\r');
}
