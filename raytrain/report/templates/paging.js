document.documentElement?.classList.add("paging"); // until page.js has hidden the further rows of a long table
