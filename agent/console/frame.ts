/** What every page of the console has around it. It works without scripts, and there are none. */
import type { StateWord } from '../health/index.ts';
import { html, type Markup } from './html.ts';
import { iconPath } from './icons.ts';
import { type Language, languages } from './language.ts';
import type { Reader } from './reader.ts';
import { words } from './words.ts';

interface Page {
  /** Before the product's name in the title: what a tab shows first. */
  readonly title: string;
  readonly icon: StateWord;
  readonly main: Markup;
}

const languageNames: Readonly<Record<Language, string>> = { ja: '日本語', en: 'English' };

/**
 * It does not reload itself: that moves the focus, cuts a screen reader short and scrolls whoever reads a hint at 2 a.m.
 * back to the top (WCAG 2.2, 2.2.2 and 3.2.5), whether a `meta` or a header says so. A link does, and the time of what
 * is shown stands beside it.
 */
export function frame({ language, say }: Reader, { title, icon, main }: Page): string {
  return html`<!DOCTYPE html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} – ${say(words.title)}</title>
<link rel="icon" type="image/svg+xml" href="${iconPath(icon)}">
<link rel="stylesheet" href="/console.css">
</head>
<body>
<header class="top">
<p class="brand"><span lang="ja">架け橋</span> <span lang="en">Kakehashi</span></p>
<nav aria-label="${say(words.language)}">${languages.map((each) => languageLink(each, language))}</nav>
</header>
<main>
${main}
</main>
</body>
</html>
`.text;
}

function languageLink(to: Language, current: Language): Markup {
  const mark = to === current ? html` aria-current="true"` : undefined;
  return html`<a href="/?lang=${to}" lang="${to}" hreflang="${to}"${mark}>${languageNames[to]}</a>`;
}
