// noVNC in Chromium: connects, looks at the picture, types. Prints `ok`.
//
//   peer_novnc.mjs CHROMIUM URL WIDTH HEIGHT COLOUR TEXT [PICTURE]
//
// COLOUR is r,g,b of the desktop. TEXT is typed with a return behind it.

import puppeteer from "puppeteer-core";

const [chromium, url, width, height, colour, text, picture] = process.argv.slice(2);
const [red, green, blue] = colour.split(",").map(Number);
const PATIENCE_MS = 40_000;

let page;
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  acceptInsecureCerts: true,
});
try {
  page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(url);
  await page.waitForFunction(
    (width, height) => [...document.querySelectorAll("canvas")].some((canvas) => canvas.width === width && canvas.height === height),
    {}, Number(width), Number(height),
  );
  const share = await page.waitForFunction(
    (red, green, blue) => {
      const canvas = [...document.querySelectorAll("canvas")].sort((a, b) => b.width - a.width)[0];
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let same = 0;
      for (let at = 0; at < data.length; at += 4) if (data[at] === red && data[at + 1] === green && data[at + 2] === blue) same += 1;
      const share = same / (data.length / 4);
      return share > 0.2 ? share : false;
    },
    { polling: 200 }, red, green, blue,
  ).then((handle) => handle.jsonValue());
  const canvas = (await page.$$("canvas")).at(-1);
  // The terminal is in the corner, and without a window manager the keyboard goes to where the pointer is.
  await canvas.click({ offset: { x: 40, y: 30 } });
  await page.keyboard.type(text, { delay: 15 });
  await page.keyboard.press("Enter");
  if (picture) await new Promise((resolve) => { setTimeout(resolve, 1000); });
  console.log(`ok ${Math.round(share * 100)} % of the picture in the desktop's colour`);
} finally {
  // What there was to see, also where it was not what it should have been.
  if (picture) await page.screenshot({ path: picture });
  await browser.close();
}
