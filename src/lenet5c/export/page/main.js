// Entry of a page without a server.

import { Page } from "./page.js";

window.lenet5c = new Page();
window.lenet5c.ready = true;
