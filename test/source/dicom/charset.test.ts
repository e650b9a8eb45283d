import { describe, expect, it } from 'vitest';
import { backslash, decodeText, equalsSign, readCharacterSets } from '../../../agent/source/dicom/charset.ts';
import { names } from '../../peers/dicom/dataset.ts';

const sets = (text: string | undefined) =>
  readCharacterSets(text === undefined ? undefined : Buffer.from(text, 'latin1'));
const groups = (bytes: Buffer, text: string | undefined) => decodeText(bytes, sets(text), equalsSign);

const kanji = (hexBytes: string, end = '1b2842') => Buffer.from(`1b2442${hexBytes}${end}`, 'hex');

describe('names', () => {
  it.each([
    ['kanji', ['Kakehashi^Tarou', '架橋^太郎', 'かけはし^たろう']],
    ['katakana', ['ｶｹﾊｼ^ﾀﾛｳ', '架橋^太郎', 'かけはし^たろう']],
    ['utf8', ['Kakehashi^Tarou', '架橋^太郎', 'かけはし^たろう']],
    ['ascii', ['Kakehashi^Tarou']],
  ] as const)('are read as Japanese equipment writes them: %s', (kind, expected) => {
    const { characterSet, name } = names[kind];
    expect(groups(name, characterSet)).toEqual(expected);
  });

  it.each([
    'ISO_IR 13\\ISO 2022 IR 87',
    'ISO IR 13\\ISO IR 87',
    'ISO2022IR13\\ISO2022IR87',
    'ISO 2022 IR 13 \\ISO 2022 IR 87',
  ])('are read under the misspelt character set %s', (text) => {
    expect(groups(names.katakana.name, text)[0]).toBe('ｶｹﾊｼ^ﾀﾛｳ');
  });

  it('are read in JIS X 0212', () => {
    const name = Buffer.concat([Buffer.from('Ki^X='), Buffer.from('1b24284430211b2842', 'hex')]);
    expect(groups(name, '\\ISO 2022 IR 87\\ISO 2022 IR 159')).toEqual(['Ki^X', '丂']);
  });

  it('are not cut at kanji whose bytes are = ^ or a backslash', () => {
    // 宗 is 3D 21, 十 is 3D 3D, 表 is 49 3D, 權 and 沺 hold 5C and 5E.
    const name = Buffer.concat([Buffer.from('A='), kanji('3d213d3d493d5c5e'), Buffer.from('^'), kanji('5e21')]);
    expect(groups(name, '\\ISO 2022 IR 87')).toEqual(['A', '宗十表權^沺']);
  });

  it('return to the first character set at a delimiter, as a sender may that forgets to say so', () => {
    const name = Buffer.concat([kanji('324d3636', '1b284a'), Buffer.from([0x5e, 0xc0, 0xdb, 0xb3])]);
    expect(groups(name, 'ISO 2022 IR 13\\ISO 2022 IR 87')).toEqual(['架橋^ﾀﾛｳ']);
  });

  it.each([
    ['Shift_JIS', Buffer.from('89cb8bb45e91be9859', 'hex'), '架橋^太郎'],
    ['UTF-8', Buffer.from('架橋^太郎'), '架橋^太郎'],
  ])('are read as %s when nothing was declared', (_, name, expected) => {
    expect(groups(name, undefined)).toEqual([expected]);
  });

  it('are marked where they cannot be read', () => {
    expect(groups(Buffer.from([0x41, 0xc0]), 'ISO 2022 IR 149')).toEqual(['A\ufffd']);
    expect(groups(Buffer.from('\x1b$)CA', 'latin1'), '\\ISO 2022 IR 87')[0]).toContain('\ufffd');
  });
});

describe('values', () => {
  it('are cut at 5CH in JIS X 0201, where it looks like ¥ and is the delimiter', () => {
    expect(decodeText(Buffer.from([0xb1, 0x5c, 0xb2]), sets('ISO_IR 13'), backslash)).toEqual(['ｱ', 'ｲ']);
    expect(decodeText(Buffer.from('a~b'), sets('ISO_IR 13'), backslash)).toEqual(['a‾b']);
  });

  it('are Latin-1 where that is declared', () => {
    expect(decodeText(Buffer.from('Müller', 'latin1'), sets('ISO_IR 100'), backslash)).toEqual(['Müller']);
  });
});
